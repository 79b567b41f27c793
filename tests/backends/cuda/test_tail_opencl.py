"""What threads run of the tail, written as OpenCL of the same thread-bound TensorIR and run by PoCL, beside the
references: indices of blocks and threads, and what each thread has of its own, are those of a device here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graphwright.backends.cuda.emit import TailVariant
from graphwright.backends.plan import Stage
from graphwright.backends.tvm.threads.code import BLOCK, thread_bound
from graphwright.backends.tvm.threads.module import ThreadModule
from graphwright.backends.tvm.tvm_library import codegen_build, tvm
from graphwright.ir import ops
from graphwright.ir.interpreter import apply_reference
from tests.backends.cuda.steps import Steps
from tests.backends.cuda.test_tail import lowered
from tests.backends.running import ROUNDOFF, SLACK
from tests.backends.tvm.emit.test_every_op import ALL, graph, operand_names

cl: Any = pytest.importorskip("pyopencl", reason="PoCL is not installed: pip install -e '.[test]'")
SIZES = {"B": 3, "S": 150, "P": 7}
"""More numbers than the threads of a block, and no whole number of blocks."""
TRIED = (ops.where, ops.layer_norm, ops.gather, ops.sort_order, ops.topk, ops.cumsum, ops.transpose)
"""Without exponentials: TVM writes OpenCL's numbers with seven digits, and CUDA's whole."""


def opencl_source(kernels: ThreadModule, kernel: str, stage: str) -> bytes:
    """What takes the place of a stage's machine code for the emulator."""
    target = tvm.target.Target("opencl", host="llvm")
    module = thread_bound(stage, kernels.stage_function(kernel, stage), target)
    with target:
        return codegen_build(module, target).inspect_source("cl").encode()


class OnPocl(Steps):
    """Steps whose tail is OpenCL."""

    def _launch(self, stage: Stage, memory: Sequence[Tensor], known: Mapping[str, int]) -> None:
        variant = self.planned.variants[stage.function]
        if not isinstance(variant, TailVariant):
            super()._launch(stage, memory, known)
            return
        assert stage.extent is not None
        blocks = stage.extent.evaluate(known)
        context, queue = device()
        # One buffer for memory that is read and written.
        arrays = {m.data_ptr(): m.numpy() for m in memory}
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.COPY_HOST_PTR
        buffers = {place: cl.Buffer(context, flags, hostbuf=array) for place, array in arrays.items() if array.size}
        kinds = [kind for _, kind in variant.parameters[len(memory) :]]
        words = {"i32": np.int32, "i64": np.int64}
        sizes = [words[kind](size.evaluate(known)) for kind, (size, _) in zip(kinds, stage.sizes, strict=True)]
        kernel = getattr(cl.Program(context, variant.code.decode()).build(), variant.name)
        kernel(queue, (blocks * BLOCK,), (BLOCK,), *(buffers.get(m.data_ptr()) for m in memory), *sizes)
        for place, buffer in buffers.items():
            cl.enqueue_copy(queue, arrays[place], buffer)
        queue.finish()


def device() -> tuple[Any, Any]:
    """A context and a queue of PoCL."""
    (platform,) = (p for p in cl.get_platforms() if "Portable Computing Language" in p.name)
    context = cl.Context(platform.get_devices()[:1])
    return context, cl.CommandQueue(context)


@pytest.mark.parametrize("op", TRIED, ids=lambda op: op.name)
def test_equals_the_reference(op: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in ALL if case.op is op)
    monkeypatch.setattr(ThreadModule, "stage_object", opencl_source)
    steps = OnPocl(lowered(graph(case, "forward")))
    built = case.build()
    operands = case.sample(SIZES, torch.Generator().manual_seed(0))
    inputs = {n: v for n, v in zip(operand_names(case), operands, strict=False) if v is not None}
    inputs |= {f"size_{symbol}": torch.zeros(n, dtype=torch.int64) for symbol, n in SIZES.items()}
    wanted: list[Tensor] = apply_reference(op, operands, built.attributes, [v.type for v in built.results], SIZES)
    for one, other in zip(steps.run("forward", inputs).values(), wanted, strict=True):
        if not other.dtype.is_floating_point:
            assert torch.equal(one, other)
            continue
        bound = SLACK * ROUNDOFF * float(other.abs().max())
        assert float((one.double() - other.double()).abs().max()) <= bound
