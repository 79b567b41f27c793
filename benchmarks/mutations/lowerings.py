"""Subjects for faults in lowering: programs as lowering finds them, and the passes down to a target's last op."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from benchmarks.mutations.altering import before, the
from benchmarks.mutations.models import VOCABULARY
from graphwright.backends.cuda.library import LIBRARY
from graphwright.backends.tvm.library import CPU
from graphwright.ir import Program, ops
from graphwright.passes import PIPELINES, Pass, run_passes
from graphwright.passes.lowering.cpu import cpu_lowering
from graphwright.passes.lowering.cuda import cuda_lowering
from graphwright.passes.lowering.decoders import ONE_GRAPH, PHASES
from graphwright.passes.lowering.ort import to_dialect
from graphwright.passes.quantization.bf16_products import ComputeInBF16
from graphwright.passes.quantization.quantize_activations import QuantizeActivations
from graphwright.passes.quantization.quantize_cache import QuantizeCache

TARGETS: dict[str, tuple[Pass, ...]] = {
    "ort": (*ONE_GRAPH, *to_dialect("ort")),
    "cpu": (*PHASES, *cpu_lowering(CPU)),
    "cuda": (*PHASES, *cuda_lowering(LIBRARY.target)),
}
"""The passes of each target, down to the last op that it takes."""


def _as_it_is(program: Program) -> None:
    pass


def _with_narrow_caches(program: Program) -> None:
    """Caches hold codes of four bits."""
    _quantize_caches(program, 4)


def _with_codes_everywhere(program: Program) -> None:
    """What products with quantized weights read is rounded, and caches hold codes of eight bits."""
    run_passes(program, [QuantizeActivations(group=16)])
    _quantize_caches(program, 8)


def _with_bf16_products(program: Program) -> None:
    """What linear layers read, and their weights, are rounded to bf16."""
    run_passes(program, [ComputeInBF16()])


def _quantize_caches(program: Program, bits: Literal[8, 4]) -> None:
    rows = torch.randint(VOCABULARY, (2, 32), generator=torch.Generator().manual_seed(5))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.npy"
        np.save(file, rows.numpy())
        run_passes(program, [QuantizeCache(bits=bits, tokens=str(file))])


def _with_an_odd_layer(program: Program) -> None:
    """A layer whose key length an operator over caches does not recognize: its cache is appended to by itself."""
    for graph in program.graphs.values():
        op = the(graph, ops.attention, "layers.1.self_attn")
        before(graph, op, "key_length", lambda build, length: build(ops.mul, length, 1))


@dataclass(frozen=True)
class Lowering:
    """A model, the pipeline that compiles it, what is done to it then, and the target that it is lowered to."""

    model: str
    target: str
    pipeline: str = "cpu"
    prepare: Callable[[Program], None] = _as_it_is

    def start(self, captured: Program, passes: Sequence[Pass] | None = None) -> Program:
        """The program that lowering begins with; `passes` take the place of the pipeline's."""
        program = captured.clone()
        run_passes(program, PIPELINES[self.pipeline] if passes is None else passes)
        self.prepare(program)
        return program


LOWERINGS: dict[str, Lowering] = {
    "half to ort": Lowering("half", "ort", pipeline="default"),
    "gpt2 to ort": Lowering("gpt2", "ort"),
    "hybrid to ort": Lowering("hybrid", "ort"),
    "translator to ort": Lowering("translator", "ort"),
    "mixtral to ort": Lowering("mixtral", "ort"),
    "narrow caches to ort": Lowering("coded", "ort", prepare=_with_narrow_caches),
    "odd layer to ort": Lowering("qwen", "ort", prepare=_with_an_odd_layer),
    "qwen to cpu": Lowering("qwen", "cpu"),
    "gemma to cpu": Lowering("gemma", "cpu"),
    "narrow caches to cpu": Lowering("coded", "cpu", prepare=_with_narrow_caches),
    "bf16 to cpu": Lowering("qwen", "cpu", prepare=_with_bf16_products),
    "codes to cpu": Lowering("coded", "cpu", prepare=_with_codes_everywhere),
    "qwen to cuda": Lowering("qwen", "cuda"),
    "gemma to cuda": Lowering("gemma", "cuda"),
}
"""By the names of their subjects: few, in which every pass of the target does something."""
