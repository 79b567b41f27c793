"""A schedule as code: one public function that runs a whole step on threads that start once and meet at barriers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from graphwright.backends.tvm.region.barrier import barrier
from graphwright.backends.tvm.region.code import key, sequence, substitute
from graphwright.backends.tvm.region.plan import HEAD, Plan, plan_workspace
from graphwright.backends.tvm.region.schedule import Given, KernelCall, Place, Schedule, Stored, Temporary
from graphwright.backends.tvm.region.segments import Memory, call_segment, cut, segment_function
from graphwright.backends.tvm.region.stages import Stage
from graphwright.backends.tvm.tvm_library import tirx, tvm

WORKSPACE = "_workspace"
"""Ends the name of the function that tells how large a step's workspace is."""


COMPILED_APART = 3
"""A calling convention other than TVM's own ones: the function takes its parameters as C does, and is seen outside."""


@dataclass
class StepFunctions:
    """The functions of a library: `steps` and their workspace sizes, and the `stages` that they call.

    These are compiled apart. In one module LLVM would compile a stage anew for each layer that calls it.
    """

    target: Any
    weight_bytes: int
    """The size of the weights file, which a step checks."""
    steps: dict[Any, Any] = field(default_factory=dict[Any, Any])
    stages: dict[Any, Any] = field(default_factory=dict[Any, Any])
    _names: dict[int, str] = field(default_factory=dict[int, str])

    def add(self, schedule: Schedule) -> None:
        """Adds `<name>(tensors…, weights u8[], workspace u8[], threads i32)` and `<name>_workspace(sizes…) -> i64`."""
        plan = plan_workspace(schedule)
        self._add(self.steps, schedule.name, _Step(self, schedule, plan).function())
        self._add(self.steps, f"{schedule.name}{WORKSPACE}", _workspace_size(schedule, plan))

    def stage(self, kernel: str, stage: Stage) -> str:
        """The symbol under which a stage can be called."""
        known = self._names.get(id(stage))
        if known is None:
            known = self._names[id(stage)] = f"graphwright_{kernel}_{len(self._names)}"
            self._add(self.stages, known, stage.function.with_attr("calling_conv", COMPILED_APART))
        return known

    def segment(self, name: str, function: Any) -> str:
        """Adds a piece of a step; the symbol under which it can be called."""
        symbol = f"graphwright_{name}"
        self._add(self.steps, symbol, function.with_attr("calling_conv", COMPILED_APART))
        return symbol

    def _add(self, functions: dict[Any, Any], name: str, function: Any) -> None:
        public = function.with_attr("global_symbol", name).with_attr("target", self.target)
        functions[tvm.ir.GlobalVar(name)] = public


def _workspace_size(schedule: Schedule, plan: Plan) -> Any:
    total = tirx.IntImm("int64", HEAD)
    for size in plan.sizes:
        total = total + size
    fresh = {name: tirx.Var(name, "int64") for name in schedule.dimensions}
    values = {key(variable): fresh[name] for name, variable in schedule.dimensions.items()}
    total = tvm.sym.Analyzer().simplify(substitute(total, values))
    return tirx.PrimFunc(list(fresh.values()), tirx.Return(total), ret_type=tvm.ir.PrimType("int64"))


class _Step:
    def __init__(self, library: StepFunctions, schedule: Schedule, plan: Plan) -> None:
        self.library, self.schedule, self.plan = library, schedule, plan
        self.tensors = {
            each: Memory(tirx.decl_buffer(list(each.type.shape.values), each.type.dtype, each.name.replace(".", "_")))
            for each in schedule.parameters
        }
        # A step refuses other weights than those of this size: it would read beyond their end.
        weight_bytes = tirx.IntImm("int64", library.weight_bytes)
        self.weights, self.workspace = (
            Memory(tirx.decl_buffer([size], "uint8", name))
            for name, size in (("weights", weight_bytes), ("workspace", tirx.Var("workspace_size", "int64")))
        )
        self.threads, self.part = tirx.Var("threads", "int32"), tirx.Var("part", "int32")
        self.offsets = [tirx.Var(f"slot_{n}", "int64") for n in range(len(plan.sizes))]

    def function(self) -> Any:
        memories = [*self.tensors.values(), self.weights, self.workspace]
        calls: list[Any] = []
        for number, statements in enumerate(cut([*self._statements()])):
            function = segment_function(statements, [self.weights, self.workspace])
            name = self.library.segment(f"{self.schedule.name}_{number}", function)
            calls.append(call_segment(name, function, memories))
        region = tirx.For(self.part, tirx.IntImm("int32", 0), self.threads, tirx.ForKind.PARALLEL, sequence(calls))
        return tirx.PrimFunc(
            [*(memory.buffer for memory in memories), self.threads], sequence([*self._slots(), region])
        )

    def _slots(self) -> Iterator[Any]:
        end = tirx.IntImm("int64", HEAD)
        for variable, size in zip(self.offsets, self.plan.sizes, strict=True):
            yield tirx.Bind(variable, end)
            end = variable + size

    def _statements(self) -> Iterator[Any]:
        waits = _Waits()
        for call in self.schedule.calls:
            for stage in call.kernel.stages:
                reads, writes = (frozenset(self._memory(call, keys)) for keys in (stage.reads, stage.writes))
                if waits.needed(reads, writes, stage.parallel):
                    yield barrier(self.workspace.address(0), self.threads)
                yield self._run(call, stage)

    def _run(self, call: KernelCall, stage: Stage) -> Any:
        pointers = [self._pointer(call.places[key(buffer)]) for buffer in stage.buffers]
        sizes = [tirx.Cast(variable.ty, call.sizes[key(variable)]) for variable in stage.sizes]
        name = self.library.stage(call.kernel.name, stage)
        arguments = [self.part, self.threads, *pointers, *sizes]
        statement = tirx.Evaluate(tirx.call_extern("int32", name, *arguments))
        return statement if stage.parallel else tirx.IfThenElse(self.part == 0, statement, None)

    def _memory(self, call: KernelCall, keys: frozenset[int]) -> Iterator[object]:
        """What may be written among the memory behind a stage's buffers: a tensor of the caller's, or a slot."""
        for each in keys:
            place = call.places[each]
            if isinstance(place, Temporary):
                yield self.plan.slots[place]
            elif isinstance(place, Given):
                yield place

    def _pointer(self, place: Place) -> Any:
        match place:
            case Given():
                return self.tensors[place].pointer
            case Stored(offset):
                return self.weights.address(offset)
            case Temporary():
                return self.workspace.address(self.offsets[self.plan.slots[place]])


class _Waits:
    """What was read and written since the last barrier, by all threads and by the first alone."""

    def __init__(self) -> None:
        self._clear()

    def _clear(self) -> None:
        self.read: dict[bool, set[object]] = {True: set(), False: set()}
        self.written: dict[bool, set[object]] = {True: set(), False: set()}

    def needed(self, reads: frozenset[object], writes: frozenset[object], parallel: bool) -> bool:
        """Whether threads must meet before a stage; notes the stage.

        A stage of one thread sees what the same thread did in stages before.
        """
        wait = False
        for other in (True, False):
            if not parallel and not other:
                continue
            wait = wait or bool(self.written[other] & (reads | writes) or self.read[other] & writes)
        if wait:
            self._clear()
        self.read[parallel] |= reads
        self.written[parallel] |= writes
        return wait
