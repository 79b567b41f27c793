"""llama.cpp, through the low-level calls of llama-cpp-python, as a measured system; runs in `.peers/llama-cpp`."""

from __future__ import annotations

import ctypes
import importlib
import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.peers.gguf_checkpoint import write_gguf
from benchmarks.peers.protocol import serve
from benchmarks.peers.stepping import Logits, SteppingWorker

MODEL_FILE = "model.gguf"
BATCH_TOKENS = 512


class _Entry(NamedTuple):
    """One token of a batch, and whether its logits are wanted."""

    token: int
    position: int
    row: int
    wanted: bool


class LlamaCppWorker(SteppingWorker):
    """All sequences in one context, all cores in both phases."""

    # The package exists in the peer's environment only.
    _library: Any
    _model: Any
    _vocabulary_size: int
    _options: Mapping[str, str]
    _context: Any = None
    _size: tuple[int, int]
    _past: int

    def versions(self) -> Mapping[str, str]:
        """Of the binding, which carries llama.cpp's source."""
        return {name: version(name) for name in ("llama-cpp-python", "gguf")}

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        """Write GGUF in float32; the option `file_type` (`Q4_0`) has llama.cpp quantize every matrix, head too."""
        library = self._import()
        file_type = options.get("file_type")
        file = folder / MODEL_FILE
        if file_type is None:
            write_gguf(checkpoint, file)
            return folder
        exact = folder / "float32.gguf"
        write_gguf(checkpoint, exact)
        parameters = library.llama_model_quantize_default_params()
        parameters.ftype = getattr(library, f"LLAMA_FTYPE_MOSTLY_{file_type}")
        parameters.nthread = _cores()
        # Left alone it keeps the head in eight bits: slower, and more bytes than the other systems read.
        parameters.pure = True
        status = library.llama_model_quantize(os.fsencode(exact), os.fsencode(file), ctypes.byref(parameters))
        exact.unlink()
        if status != 0:
            raise RuntimeError(f"llama_model_quantize to {file_type} failed with {status}")
        return folder

    def load(self, folder: Path, options: Mapping[str, str]) -> None:
        """Load the file; the options `cache` (`F32`, `F16`) and `flash_attention` (`on`, `off`) hold for contexts."""
        self._library = self._import()
        self._options = options
        parameters = self._library.llama_model_default_params()
        self._model = self._library.llama_model_load_from_file(os.fsencode(folder / MODEL_FILE), parameters)
        if not self._model:
            raise RuntimeError(f"llama.cpp cannot load {folder / MODEL_FILE}")
        vocabulary = self._library.llama_model_get_vocab(self._model)
        self._vocabulary_size = self._library.llama_vocab_n_tokens(vocabulary)

    def begin(self, capacity: int, rows: int) -> None:
        """A context of its own size, the last one emptied if it has that: a new one's buffers are not in memory yet."""
        library = self._library
        self._past = 0
        if self._context is not None:
            if self._size == (capacity, rows):
                library.llama_memory_clear(library.llama_get_memory(self._context), False)
                return
            library.llama_free(self._context)
        self._size = capacity, rows
        parameters = library.llama_context_default_params()
        # The cells are divided among the sequences, each having a cache of its own.
        parameters.n_ctx, parameters.n_seq_max = capacity * rows, rows
        parameters.n_batch = parameters.n_ubatch = BATCH_TOKENS
        parameters.n_threads = parameters.n_threads_batch = _cores()
        parameters.type_k = parameters.type_v = getattr(library, f"GGML_TYPE_{self._options['cache']}")
        flash = "ENABLED" if self._options["flash_attention"] == "on" else "DISABLED"
        parameters.flash_attn_type = getattr(library, f"LLAMA_FLASH_ATTN_TYPE_{flash}")
        self._context = library.llama_init_from_model(self._model, parameters)
        if not self._context:
            raise RuntimeError(f"llama.cpp cannot make a context of {rows} times {capacity} tokens")

    def step(self, tokens: list[list[int]], wanted: int) -> tuple[float, Logits]:
        """Time `llama_decode` over batches of at most 512 tokens, of one row after the other."""
        seconds, logits = 0.0, list[Logits]()
        new = len(tokens[0])
        entries = [
            _Entry(token, self._past + index, row, index >= new - wanted)
            for row, row_tokens in enumerate(tokens)
            for index, token in enumerate(row_tokens)
        ]
        for start in range(0, len(entries), BATCH_TOKENS):
            part = entries[start : start + BATCH_TOKENS]
            seconds += self._decode(part)
            for index, entry in enumerate(part):
                if entry.wanted:
                    row = self._library.llama_get_logits_ith(self._context, index)
                    # The next batch overwrites them.
                    logits.append(np.ctypeslib.as_array(row, shape=(self._vocabulary_size,)).copy())
        self._past += new
        return seconds, np.stack(logits).reshape(len(tokens), wanted, self._vocabulary_size)

    def _decode(self, entries: list[_Entry]) -> float:
        batch = self._library.llama_batch_init(len(entries), 0, 1)
        batch.n_tokens = len(entries)
        for index, entry in enumerate(entries):
            batch.token[index] = entry.token
            batch.pos[index] = entry.position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = entry.row
            batch.logits[index] = entry.wanted
        start = time.perf_counter()
        status = self._library.llama_decode(self._context, batch)
        self._library.llama_synchronize(self._context)
        seconds = time.perf_counter() - start
        self._library.llama_batch_free(batch)
        if status != 0:
            raise RuntimeError(f"llama_decode of {len(entries)} tokens after {self._past} failed with {status}")
        return seconds

    def _import(self) -> Any:
        library = importlib.import_module("llama_cpp")
        library.llama_backend_init()
        return library


def _cores() -> int:
    return len(os.sched_getaffinity(0))


if __name__ == "__main__":
    serve(LlamaCppWorker)
