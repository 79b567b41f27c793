"""What a measured system answers: one JSON object a line on stdin, one on stdout, one request at a time.

Runs in the peers' own interpreters, so it imports the standard library only. Between requests a worker blocks on
stdin: systems that share a machine never compute at the same time.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO, cast


@dataclass(frozen=True)
class Prefill:
    """One forward pass over a prompt: its time, and the likeliest next token (so that systems can be compared)."""

    seconds: float
    next_token: int


@dataclass(frozen=True)
class Decode:
    """The time of each step, in order, and the likeliest token after the last one."""

    seconds: list[float]
    next_token: int


@dataclass(frozen=True)
class Batch:
    """The time of each step of all rows, in order, and each row's likeliest token after the last one."""

    seconds: list[float]
    next_tokens: list[int]


class Worker(Protocol):
    """A measured system. Clocks are the worker's own, around the computation alone."""

    def versions(self) -> Mapping[str, str]:
        """Versions of the libraries that are measured."""
        ...

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        """The folder that `load` wants: `folder`, existing and empty, after building into it, or the checkpoint itself.

        The time of this is the system's compile time.
        """
        ...

    def load(self, folder: Path, options: Mapping[str, str]) -> None:
        """Make the model ready for `prefill` and `decode`, imports included."""
        ...

    def prefill(self, prompt: list[int]) -> Prefill:
        """Run the prompt through the model from an empty cache; only the last position's logits are wanted."""
        ...

    def decode(self, prompt: list[int], continuation: list[int], tokens_at_once: int) -> Decode:
        """Run the prompt untimed, then time steps over the continuation of so many tokens each.

        A step of several tokens computes the logits of each of them, as checking a guessed continuation needs it.
        """
        ...

    def batch(self, prompts: list[list[int]], continuations: list[list[int]]) -> Batch:
        """Run prompts of equal lengths untimed, then time steps of one token of every row over the continuations."""
        ...

    def logits(self, prompt: list[int], continuation: list[int]) -> bytes:
        """Logits after the prompt and after each token of the continuation, one a step: float32, row by row."""
        ...


def serve(make_worker: Callable[[], Worker]) -> None:
    """Answer requests until `quit` or the end of stdin. Errors are answered, not raised: the driver reports them."""
    # Libraries print to stdout as they please; from here on that goes to stderr and the answers have their own pipe.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    serve_streams(make_worker(), sys.stdin, answers)


def serve_streams(worker: Worker, requests: TextIO, answers: TextIO) -> None:
    """`serve` over given streams."""
    for line in requests:
        request = cast(dict[str, Any], json.loads(line))
        if request["command"] == "quit":
            return
        try:
            answer: dict[str, Any] = {"ok": True, **_answer(worker, request)}
        except Exception as error:  # whatever a system raises becomes one line for the driver, and all of it the log's
            traceback.print_exc()
            answer = {"ok": False, "error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _answer(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    match request["command"]:
        case "versions":
            return {"versions": dict(worker.versions())}
        case "prepare":
            folder = worker.prepare(Path(request["checkpoint"]), Path(request["folder"]), request["options"])
            return {"folder": str(folder)}
        case "load":
            worker.load(Path(request["folder"]), request["options"])
            return {}
        case "prefill":
            return vars(worker.prefill(request["prompt"]))
        case "decode":
            return vars(worker.decode(request["prompt"], request["continuation"], request["tokens_at_once"]))
        case "batch":
            return vars(worker.batch(request["prompts"], request["continuations"]))
        case "logits":
            # A vocabulary's worth of numbers a row is too much for a line of text.
            Path(request["file"]).write_bytes(worker.logits(request["prompt"], request["continuation"]))
            return {}
        case command:
            raise ValueError(f"unknown command {command!r}")
