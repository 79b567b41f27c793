"""Ops that no kernel of ours in Triton takes: by what the backend for CPUs makes of them, an iteration a thread."""

from __future__ import annotations

from dataclasses import replace

from graphwright.backends.cuda.emit.emitter import Emitter
from graphwright.backends.cuda.emit.variants import TailVariant
from graphwright.backends.plan import Buffer, Stage
from graphwright.backends.tvm.emit.emitter import Emitter as CallEmitter
from graphwright.backends.tvm.emit.emitter import Memory, Tensor
from graphwright.backends.tvm.region.assemble import stages_of
from graphwright.backends.tvm.threads.code import BLOCK
from graphwright.backends.tvm.threads.module import thread_module
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op
from graphwright.ir.types import DType, TensorType

WORDS = {DType.I32: "i32", DType.I64: "i64"}


def emit_tail(e: Emitter, op: Op) -> None:
    """The op as launches, one for each stage of its kernels."""
    kernels = thread_module()
    calls = CallEmitter(e.graph, kernels, {})
    calls.sizes.definitions = e.definitions
    held: dict[Memory, Buffer] = {}
    for value in op.inputs:
        if value.weight is None and not calls.holds(value):
            memory = Memory(value.tensor)
            held[memory] = e.buffer(value)
            calls.bind(value, Tensor(memory, value.tensor))
    calls.emit(op)

    def buffer(tensor: Tensor) -> Buffer:
        memory = tensor.memory
        if memory not in held:
            held[memory] = e.temporary(memory.type) if memory.weight is None else e.stored(memory.weight)
        return held[memory]

    def temporary(type: TensorType) -> Buffer:
        return e.temporary(type)

    for result in op.results:
        if not calls.holds(result):
            continue
        tensor = calls.value(result)
        if tensor.memory in held or tensor.memory.weight is not None:
            e.bind(result, buffer(tensor))
        else:
            held[tensor.memory] = e.make(result)
    branches = 0
    for launch in calls.launches:
        for call in launch.calls:
            stages = stages_of(kernels.record(call.kernel), call, calls.sizes, buffer, temporary, branches)
            branches = max((branch + 1 for stage in stages for branch, _ in stage.arms), default=branches)
            for stage in stages:
                _launch(e, call.kernel, stage)


def _launch(e: Emitter, kernel: str, stage: Stage) -> None:
    pointers = [(f"p{n}", f"*{access.buffer.type.dtype.value}") for n, access in enumerate(stage.accesses)]
    sizes = [(f"n{n}", WORDS[dtype]) for n, (_, dtype) in enumerate(stage.sizes)]
    kernels = thread_module()
    code = (kernels.stage_object if e.gpu.emulated else kernels.source)(kernel, stage.function)
    variant = TailVariant(stage.function, (*pointers, *sizes), BLOCK, code)
    blocks = Dim.of(1) if stage.extent is None else e.quotient(stage.extent, BLOCK)
    e.add(variant, replace(stage, extent=blocks))
