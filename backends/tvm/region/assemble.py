"""A graph's calls of kernels as a launch plan: stages for kernels, buffers for memory."""

from collections.abc import Callable, Mapping, Sequence

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
from graphwright.backends.tvm.emit import Emitted, KernelModule
from graphwright.backends.tvm.emit.emitter import KernelCall, Memory, Tensor
from graphwright.backends.tvm.region.kernel_record import KernelRecord, StageRecord
from graphwright.backends.tvm.sizes import Sizes
from graphwright.ir.dims import Dim
from graphwright.ir.types import TensorType


def assemble(emitted: Emitted, kernels: KernelModule, offsets: Mapping[str, int]) -> Plan:
    """The plan of a graph, its memory and waits planned. `offsets` say where weights lie in their file, by name."""
    return _Assembly(emitted, kernels, offsets).plan()


class _Assembly:
    def __init__(self, emitted: Emitted, kernels: KernelModule, offsets: Mapping[str, int]) -> None:
        self.emitted, self.kernels, self.offsets = emitted, kernels, offsets
        self.buffers: dict[Memory, Buffer] = {}
        self.temporaries = 0
        arguments = (a for each in emitted.launches for call in each.calls for a in call.arguments)
        self.taken = {a.memory.weight.name for a in arguments if isinstance(a, Tensor) and a.memory.weight is not None}
        """Names that buffers have."""

    def plan(self) -> Plan:
        parameters = tuple(self._given(memory) for memory in self.emitted.parameters)
        launches = tuple(
            Launch(each.op, self._launch(each.calls), each.kernel, tuple(each.settings.items()))
            for each in self.emitted.launches
        )
        # What no kernel touches is not there.
        placement = {v: self.buffers[m] for v, m in self.emitted.held.items() if m in self.buffers}
        plan = Plan(self.emitted.graph, self.emitted.sizes.definitions, parameters, placement, launches)
        return with_waits(with_slots(plan))

    def _launch(self, calls: Sequence[KernelCall]) -> tuple[Stage, ...]:
        """The stages of several calls; the branches of all are numbered together."""
        stages: list[Stage] = []
        for call in calls:
            first = 1 + max((branch for stage in stages for branch, _ in stage.arms), default=-1)
            stages += stages_of(
                self.kernels.record(call.kernel), call, self.emitted.sizes, self._buffer, self._temporary, first
            )
        return tuple(stages)

    def _given(self, memory: Memory) -> Given:
        assert memory.given is not None
        name = self._free(memory.given)
        given = Given(name, memory.type, "" if name == memory.given else memory.given)
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

    def _temporary(self, type: TensorType) -> Temporary:
        self.temporaries += 1
        return Temporary(self._free(f"t{self.temporaries - 1}"), type)

    def _free(self, name: str) -> str:
        """A name like this that no other buffer has: outputs, inputs and weights may have the same."""
        while name in self.taken:
            name += "_"
        self.taken.add(name)
        return name


def stages_of(
    kernel: KernelRecord,
    call: KernelCall,
    sizes: Sizes,
    buffer: Callable[[Tensor], Buffer],
    temporary: Callable[[TensorType], Buffer],
    first_branch: int,
) -> list[Stage]:
    """The stages of a call, with what the kernel's variables stand for read off the shapes, where they are no
    arguments. `buffer` gives that of an argument, `temporary` makes one; branches count from `first_branch` on."""
    buffers: list[Buffer] = []
    known: dict[str, Dim] = {}
    for parameter, argument in zip(kernel.parameters, call.arguments, strict=True):
        if isinstance(parameter, str):
            assert isinstance(argument, Dim), f"{call.kernel} takes a number"
            known[parameter] = argument
            continue
        assert isinstance(argument, Tensor), f"{call.kernel} takes a buffer"
        buffers.append(buffer(argument))
        for variable, size in zip(parameter, argument.type.shape, strict=True):
            if variable is not None:
                known.setdefault(variable, size)
    for name, definition in kernel.definitions.items():
        first, second = (d.substitute(known) for d in (definition.first, definition.second))
        known[name] = sizes.defined(definition.kind, first, second)
    for type in kernel.scratch:
        buffers.append(temporary(type.with_shape(*(d.substitute(known) for d in type.shape))))
    return [_stage(each, buffers, known, first_branch) for each in kernel.stages]


def _stage(record: StageRecord, buffers: Sequence[Buffer], known: Mapping[str, Dim], first_branch: int) -> Stage:
    return Stage(
        record.function,
        None if record.extent is None else record.extent.substitute(known),
        tuple(_access(buffers[use.number], use.reads, use.writes) for use in record.buffers),
        tuple((known[variable], dtype) for variable, dtype in record.sizes),
        tuple((first_branch + branch, arm) for branch, arm in record.arms),
    )


def _access(buffer: Buffer, reads: bool, writes: bool) -> Access:
    # A weight whose address a kernel takes is only read: its memory is mapped so that nothing can write there.
    return Access(buffer, reads, writes and not isinstance(buffer, Stored))
