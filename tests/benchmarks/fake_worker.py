"""A worker with no model, for the tests of the driver: `python -m tests.benchmarks.fake_worker BEHAVIOUR`."""

import os
import struct
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers.protocol import Batch, Decode, Prefill, serve

LOADED_BYTES = 64 << 20


class FakeWorker:
    """Well-behaved, unless `behaviour` names what goes wrong."""

    def __init__(self, behaviour: str = "") -> None:
        self._behaviour = behaviour
        self._weights = b""

    def versions(self) -> Mapping[str, str]:
        return {"fake": "1.0"}

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        if options.get("build") != "yes":
            return checkpoint
        (folder / "built").write_text(str(checkpoint))
        return folder

    def load(self, folder: Path, options: Mapping[str, str]) -> None:
        print("libraries print to stdout")
        if self._behaviour == "exits":
            os._exit(3)
        if self._behaviour == "fails":
            raise ValueError("no such\nfolder")
        if self._behaviour == "hangs":
            sys.stdin.readline()
        if self._behaviour == "spins":
            threading.Thread(target=_spin, daemon=True).start()
        self._weights = b"\x01" * LOADED_BYTES

    def prefill(self, prompt: list[int]) -> Prefill:
        return Prefill(len(prompt) / 1000, self._next_token(prompt))

    def decode(self, prompt: list[int], continuation: list[int], tokens_at_once: int) -> Decode:
        # The first step is an outlier: a round is its median step.
        steps = len(continuation) // tokens_at_once
        seconds = 0.01 if tokens_at_once == 1 else 0.012
        return Decode([9.0] + [seconds] * (steps - 1), self._next_token(prompt + continuation))

    def batch(self, prompts: list[list[int]], continuations: list[list[int]]) -> Batch:
        rows = [self._next_token(prompt + rest) for prompt, rest in zip(prompts, continuations, strict=True)]
        if self._behaviour == "forgets a row":
            rows[-1] += 1
        return Batch([9.0] + [0.015] * (len(continuations[0]) - 1), rows)

    def logits(self, prompt: list[int], continuation: list[int]) -> bytes:
        rows = 1 + len(continuation)
        return struct.pack(f"{3 * rows}f", *[0.0, 1.0, 5.0 if self._behaviour == "differs" else 2.0] * rows)

    def _next_token(self, tokens: list[int]) -> int:
        return sum(tokens) % 7 + (100 if self._behaviour == "differs" else 0)


def _spin() -> None:
    while True:
        pass


if __name__ == "__main__":
    serve(lambda: FakeWorker(*sys.argv[1:]))
