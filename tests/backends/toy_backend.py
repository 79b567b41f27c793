"""A complete backend: a library of three kernels that numpy interprets, and what has no kernel by its reference."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from graphwright.backends.artifact import add_program, commit_artifact, program_info
from graphwright.backends.interface import Backend, BackendOptions, Companions
from graphwright.backends.kernel_library import Kernel, KernelLibrary
from graphwright.ir import DType, Interpreter, Op, Program, ops, read_program
from graphwright.passes.base import Pass
from graphwright.passes.lowering.decoders import ONE_GRAPH
from graphwright.runtime.artifact import LOWERED_FILE, Artifact, ArtifactWriter, Manifest


def linear(op: Op, x: Any, weight: Any, bias: Any = None) -> Any:
    return x @ weight.T + (0 if bias is None else bias)


def rms_norm(op: Op, x: Any, weight: Any) -> Any:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + op.attributes["epsilon"]) * weight


def add(op: Op, x: Any, y: Any) -> Any:
    return x + y


KERNELS = {ops.linear: linear, ops.rms_norm: rms_norm, ops.add: add}
F32 = frozenset({DType.F32})
TAKEN = [Kernel(op, F32, name=k.__name__, body=f"{__name__}:{k.__name__}") for op, k in KERNELS.items()]
LIBRARY = KernelLibrary("toy", "numpy", tuple(TAKEN))


class Numpy(Interpreter):
    def run_op(self, op: Op, operands: Sequence[Any], bindings: Mapping[str, int]) -> list[Any]:
        if LIBRARY.target.refusal(op) is not None:
            return super().run_op(op, operands, bindings)
        arrays = (None if x is None else x.numpy() for x in operands)
        return [torch.as_tensor(LIBRARY.kernel_for(op).load()(op, *arrays))]


class Engine:  # also the only file, and the only call of it
    on_host = True

    def __init__(self, artifact: Artifact, *, threads: int, device: str) -> None:
        self.graph = read_program(artifact.path(LOWERED_FILE)).graphs["prefill"]
        self.given, self.taken = dict[str, Any](), dict[str, Any]()
        self.give, self.take = self.given.__setitem__, self.taken.__setitem__

    def view(self, array: Any, dtype: str) -> Any:
        return torch.as_tensor(array)

    def load(self, signature: Any) -> Any:
        return self

    place = view

    def calls(self, count: int) -> Any:
        return [self] * count

    def run(self) -> None:
        for name, result in Numpy().run(self.graph, self.given).items():
            self.taken[name].copy_(result)


class Toy(Backend):
    name, summary, engine = "toy", "kernels that numpy interprets", Engine

    def lowering(self, options: BackendOptions, *, decoder: bool) -> Sequence[Pass]:
        return ONE_GRAPH

    def build(self, program: Program, folder: Path, companions: Companions, options: BackendOptions) -> Manifest:
        with ArtifactWriter(folder) as writer:
            add_program(writer, program)
            info = program_info(program, backend=self.name, dialect="numpy", file=LOWERED_FILE)
            return commit_artifact(writer, program, companions, info)
