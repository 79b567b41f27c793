"""A complete backend, without a change to any other file: a library of three kernels that numpy interprets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import pytest
import torch

import graphwright
from graphwright.backends.artifact import add_program, commit_artifact, program_info
from graphwright.backends.interface import Backend, BackendOptions, Companions
from graphwright.ir import Interpreter, Op, Program, ops, read_program
from graphwright.passes.base import Pass
from graphwright.passes.lowering.decoders import ONE_GRAPH
from graphwright.runtime.artifact import LOWERED_FILE, Artifact, ArtifactWriter, Manifest
from graphwright.runtime.engines import Device, Signature

STORIES = Path(__file__).parents[3] / "shared/models/stories260k"
pytestmark = pytest.mark.skipif(not STORIES.is_dir(), reason="the shared model stories260k is not here")


def linear(op: Op, x: Any, weight: Any, bias: Any = None) -> Any:
    return x @ weight.T + (0 if bias is None else bias)


def rms_norm(op: Op, x: Any, weight: Any, *_: Any) -> Any:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + cast(float, op.attributes["epsilon"])) * weight


def embedding(op: Op, weight: Any, indices: Any) -> Any:
    return weight[indices]


KERNELS: dict[Any, Callable[..., Any]] = {ops.linear: linear, ops.rms_norm: rms_norm, ops.embedding: embedding}


class Numpy(Interpreter):
    """Runs the kernels, and the ops that there is none for by their references."""

    def run_op(self, op: Op, operands: Sequence[Any], bindings: Mapping[str, int]) -> list[Any]:
        if op.definition not in KERNELS:
            return super().run_op(op, operands, bindings)
        arrays = [None if x is None else x.numpy() for x in operands]
        return [torch.from_numpy(np.asarray(KERNELS[op.definition](op, *arrays)))]


@dataclass
class Array:
    array: Any

    def numpy(self) -> Any:
        return self.array

    def update_inplace(self, data: Any) -> None:
        self.array[...] = data.array if isinstance(data, Array) else data


class Engine:
    """Also its own executable and call, as it keeps nothing but what is bound."""

    on_host = True

    def __init__(self, artifact: Artifact, *, threads: int, device: Device) -> None:
        self.graph = read_program(artifact.path(LOWERED_FILE)).graphs["prefill"]
        self.interpreter, self.given, self.taken = Numpy(), dict[str, Any](), dict[str, Any]()
        self.give, self.take = self.given.__setitem__, self.taken.__setitem__

    def view(self, array: Any, dtype: str) -> Array:
        return Array(array)

    place = view

    def load(self, signature: Signature) -> Engine:
        return self

    def calls(self, count: int) -> list[Engine]:
        return [self] * count

    def run(self) -> None:
        inputs = {name: torch.from_numpy(value.array) for name, value in self.given.items()}
        for name, result in self.interpreter.run(self.graph, inputs).items():
            self.taken[name].update_inplace(result.numpy())


class Toy(Backend):
    name: ClassVar[str] = "toy"
    summary: ClassVar[str] = "kernels that numpy interprets"
    engine: ClassVar[Any] = Engine

    def missing(self) -> str | None:
        return None

    def lowering(self, options: BackendOptions, *, decoder: bool) -> Sequence[Pass]:
        return ONE_GRAPH

    def build(self, program: Program, folder: Path, companions: Companions, options: BackendOptions) -> Manifest:
        with ArtifactWriter(folder) as writer:
            add_program(writer, program)
            info = program_info(program, backend=self.name, dialect="numpy", file=LOWERED_FILE)
            return commit_artifact(writer, program, companions, info)


def test_it_generates_the_published_text() -> None:
    text = graphwright.compile(STORIES, backend=Toy()).generate("", max_new_tokens=40)
    assert len(text) > 100
    assert (STORIES / "EXPECTED.txt").read_text(encoding="utf-8").startswith(text)
