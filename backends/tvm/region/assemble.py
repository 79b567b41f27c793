"""A graph's calls of kernels as a launch plan: stages for kernels, buffers for memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from graphwright.backends.element_types import DTYPES
from graphwright.backends.plan import (
    Access,
    Buffer,
    Given,
    Launch,
    Plan,
    Stage,
    Stored,
    Temporary,
    with_slots,
    with_waits,
)
from graphwright.backends.tvm.emit import Emitted
from graphwright.backends.tvm.emit.emitter import KernelCall, Memory, Tensor
from graphwright.backends.tvm.region.code import is_buffer, key
from graphwright.backends.tvm.region.stages import Kernel
from graphwright.backends.tvm.region.stages import Stage as Code
from graphwright.backends.tvm.tvm_library import tvm
from graphwright.ir.dims import Dim
from graphwright.ir.types import TensorType


def assemble(emitted: Emitted, kernels: Mapping[str, Kernel], offsets: Mapping[str, int]) -> Plan:
    """The plan of a graph, its memory and waits planned. `offsets` say where weights lie in their file, by name."""
    return _Assembly(emitted, kernels, offsets).plan()


class _Assembly:
    def __init__(self, emitted: Emitted, kernels: Mapping[str, Kernel], offsets: Mapping[str, int]) -> None:
        self.emitted, self.kernels, self.offsets = emitted, kernels, offsets
        self.buffers: dict[Memory, Buffer] = {}
        self.temporaries = 0

    def plan(self) -> Plan:
        parameters = tuple(self._given(memory) for memory in self.emitted.parameters)
        launches = tuple(Launch(each.op, self._launch(each.calls)) for each in self.emitted.launches)
        # What no kernel touches is not there.
        placement = {v: self.buffers[m] for v, m in self.emitted.held.items() if m in self.buffers}
        plan = Plan(self.emitted.graph, self.emitted.sizes.definitions, parameters, placement, launches)
        return with_waits(with_slots(plan))

    def _launch(self, calls: Sequence[KernelCall]) -> tuple[Stage, ...]:
        """The stages of several calls; the branches of all are numbered together."""
        stages: list[Stage] = []
        for call in calls:
            first = 1 + max((branch for stage in stages for branch, _ in stage.arms), default=-1)
            stages += self._stages(call, first)
        return tuple(stages)

    def _stages(self, call: KernelCall, first_branch: int) -> list[Stage]:
        """The stages of a call, with what the kernel's variables stand for read off the shapes, where they are no
        arguments."""
        kernel = self.kernels[call.kernel]
        places: dict[int, Buffer] = {}
        sizes: dict[int, Dim] = {}
        for parameter, argument in zip(kernel.parameters, call.arguments, strict=True):
            if isinstance(argument, Dim):
                sizes[key(parameter)] = argument
                continue
            assert is_buffer(parameter), f"{call.kernel} takes {parameter} as a number"
            places[key(parameter)] = self._buffer(argument)
            for dimension, size in zip(parameter.shape, argument.type.shape, strict=True):
                if isinstance(dimension, tvm.ir.Var):
                    sizes.setdefault(key(dimension), size)
        for buffer in kernel.scratch:
            places[key(buffer)] = self._scratch(buffer, sizes)
        return [self._stage(code, places, sizes, first_branch) for code in kernel.stages]

    def _stage(self, code: Code, places: Mapping[int, Buffer], sizes: Mapping[int, Dim], first_branch: int) -> Stage:
        return Stage(
            code.name,
            None if code.extent is None else self.emitted.sizes.dimension(code.extent, sizes),
            tuple(_access(places[k], k in code.reads, k in code.writes) for k in map(key, code.buffers)),
            tuple((sizes[key(v)], DTYPES[str(v.ty.dtype)]) for v in code.sizes),
            tuple((first_branch + branch, arm) for branch, arm in code.arms),
        )

    def _given(self, memory: Memory) -> Given:
        assert memory.given is not None
        given = Given(memory.given, memory.type)
        self.buffers[memory] = given
        return given

    def _buffer(self, tensor: Tensor) -> Buffer:
        memory = tensor.memory
        if memory not in self.buffers:
            if memory.weight is None:
                self.buffers[memory] = self._temporary(memory.type)
            else:
                name = memory.weight.name
                self.buffers[memory] = Stored(name, memory.type, memory.of or name, self.offsets[name])
        return self.buffers[memory]

    def _scratch(self, buffer: Any, sizes: Mapping[int, Dim]) -> Temporary:
        shape = tuple(self.emitted.sizes.dimension(size, sizes) for size in buffer.shape)
        return self._temporary(TensorType(DTYPES[str(buffer.ty.dtype)], shape))

    def _temporary(self, type: TensorType) -> Temporary:
        self.temporaries += 1
        return Temporary(f"t{self.temporaries - 1}", type)


def _access(buffer: Buffer, reads: bool, writes: bool) -> Access:
    # A weight whose address a kernel takes is only read: its memory is mapped so that nothing can write there.
    return Access(buffer, reads, writes and not isinstance(buffer, Stored))
