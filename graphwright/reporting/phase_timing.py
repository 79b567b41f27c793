"""How long a compiled program really takes, phase by phase, beside what was predicted."""

import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphwright.errors import UsageError
from graphwright.reporting.pipeline_report import Phase, Workload
from graphwright.runtime import Decoder, Function, KVCache, Model, load, load_function, open_artifact
from graphwright.runtime.artifact import TensorSpec
from graphwright.runtime.element_types import ELEMENT_TYPES
from graphwright.runtime.encoder import EncodedContext, encode
from graphwright.runtime.session import Session

RUNS = 5


def phase_seconds(compiled: str | Path | Model | Function, workload: Workload) -> dict[Phase, float]:
    """The median time of each phase, in seconds, over a few runs at these sizes; an artifact's folder is loaded.

    Prefill includes the encoder. Raises UsageError for sizes beyond the model's context, and the runtime's errors.
    """
    loaded = compiled if isinstance(compiled, Model | Function) else _load(Path(compiled))
    if isinstance(loaded, Function):
        return {"forward": _function_seconds(loaded, workload)}
    session = loaded.loaded.session
    longest = max(workload.prefill_length, workload.decode_context)
    if longest > session.context_length:
        raise UsageError(
            f"{longest} tokens cannot be measured: the context of '{session.manifest.model.name}' is "
            f"{session.context_length} tokens"
        )
    return {"prefill": _prefill_seconds(session, workload), "decode": _decode_seconds(session, workload)}


def _load(folder: Path) -> Model | Function:
    function = open_artifact(folder).manifest.program.kind == "function"
    return load_function(folder) if function else load(folder)


def _function_seconds(function: Function, workload: Workload) -> float:
    specs = function.manifest.program.inputs
    inputs = {name: np.stack(_zeros(spec, workload)) for name, spec in specs.items()}
    return _median_seconds(lambda: function(**inputs))


def _prefill_seconds(session: Session, workload: Workload) -> float:
    decoder = Decoder(KVCache(session, workload.batch, workload.prefill_length), _context(session, workload))
    step = _step(decoder, workload.batch, workload.prefill_length)

    def run() -> None:
        # The decoder above has a context bound; this is for the time that making it takes.
        _context(session, workload)
        step()

    return _median_seconds(run)


def _decode_seconds(session: Session, workload: Workload) -> float:
    cache = KVCache(session, workload.batch, workload.decode_context)
    # What the cache holds does not matter for time; no step is counted, so each finds the same lengths.
    cache.lengths[:] = workload.decode_context - 1
    return _median_seconds(_step(Decoder(cache, _context(session, workload)), workload.batch, 1))


def _step(decoder: Decoder, batch: int, tokens: int) -> Callable[[], object]:
    """A step of so many new tokens a row, with logits of the last."""
    ids = np.zeros((batch, tokens), dtype=np.int64)
    lengths = np.full(batch, tokens, dtype=np.int64)
    last = np.full((batch, 1), tokens - 1, dtype=np.int64)
    return lambda: decoder.step(ids, lengths, last)


def _context(session: Session, workload: Workload) -> EncodedContext | None:
    spec = session.program.encoder
    return None if spec is None else encode(session, _zeros(spec.context[1], workload))


def _zeros(spec: TensorSpec, workload: Workload) -> list[NDArray[Any]]:
    """The rows of an input at the workload's sizes: its first dimension is the batch, other names are lengths."""
    shape = [workload.prefill_length if isinstance(size, str) else size for size in spec.shape]
    rows = workload.batch if isinstance(spec.shape[0], str) else spec.shape[0]
    return [np.zeros(shape[1:], dtype=ELEMENT_TYPES[spec.dtype].storage)] * rows


def _median_seconds(run: Callable[[], object]) -> float:
    # The first run takes memory and touches the weights' pages.
    run()
    times: list[float] = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return median(times)
