"""A schedule as code: one public function that runs a whole step on threads that start once and meet at barriers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from graphwright.backends.tvm.region.barrier import CODE, PRAGMA, barrier
from graphwright.backends.tvm.region.code import key, sequence, substitute
from graphwright.backends.tvm.region.plan import HEAD, Plan, plan_workspace
from graphwright.backends.tvm.region.schedule import Given, KernelCall, Place, Schedule, Stored, Temporary
from graphwright.backends.tvm.region.stages import Stage
from graphwright.backends.tvm.tvm_library import tirx, tvm

WORKSPACE = "_workspace"
"""Ends the name of the function that tells how large a step's workspace is."""


@dataclass
class StepFunctions:
    """The functions of a library: steps and their workspace sizes, and the private stages that they share."""

    target: Any
    functions: dict[Any, Any] = field(default_factory=dict[Any, Any])
    _stages: dict[int, Any] = field(default_factory=dict[int, Any])

    def add(self, schedule: Schedule) -> None:
        """Adds `<name>(tensors…, weights u8[], workspace u8[], threads i32)` and `<name>_workspace(sizes…) -> i64`."""
        plan = plan_workspace(schedule)
        self._add_public(schedule.name, _Step(self, schedule, plan).function())
        self._add_public(f"{schedule.name}{WORKSPACE}", _workspace_size(schedule, plan))

    def stage(self, kernel: str, stage: Stage) -> Any:
        """The name under which a stage can be called."""
        known = self._stages.get(id(stage))
        if known is None:
            known = tvm.ir.GlobalVar(f"{kernel}_{len(self._stages)}")
            self._stages[id(stage)] = known
            self.functions[known] = stage.function
        return known

    @property
    def module(self) -> Any:
        return tvm.IRModule(self.functions)

    def _add_public(self, name: str, function: Any) -> None:
        public = function.with_attr("global_symbol", name).with_attr("target", self.target)
        self.functions[tvm.ir.GlobalVar(name)] = public


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
            each: tirx.decl_buffer(list(each.type.shape.values), each.type.dtype, each.name.replace(".", "_"))
            for each in schedule.parameters
        }
        bytes = tirx.Var("weight_bytes", "int64"), tirx.Var("workspace_bytes", "int64")
        self.weights, self.workspace = (
            tirx.decl_buffer([size], "uint8", name) for size, name in zip(bytes, ("weights", "workspace"), strict=True)
        )
        self.threads, self.part = tirx.Var("threads", "int32"), tirx.Var("part", "int32")
        self.offsets = [tirx.Var(f"slot_{n}", "int64") for n in range(len(plan.sizes))]

    def function(self) -> Any:
        region = tirx.For(
            self.part, tirx.IntImm("int32", 0), self.threads, tirx.ForKind.PARALLEL, sequence(self._statements())
        )
        body = sequence([*self._slots(), region])
        body = tirx.AttrStmt(tirx.IntImm("int32", 0), PRAGMA, tvm.ir.StringImm(CODE), body)
        return tirx.PrimFunc([*self.tensors.values(), self.weights, self.workspace, self.threads], body)

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
                    yield barrier(self._address(self.workspace, 0), self.threads)
                yield self._run(call, stage)

    def _run(self, call: KernelCall, stage: Stage) -> Any:
        pointers = [self._pointer(call.places[key(buffer)]) for buffer in stage.buffers]
        sizes = [tirx.Cast(variable.ty, call.sizes[key(variable)]) for variable in stage.sizes]
        name = self.library.stage(call.kernel.name, stage)
        arguments = [self.part, self.threads, *pointers, *sizes]
        statement = tirx.Evaluate(tvm.ir.Call(name, arguments, ret_ty=tvm.ir.PrimType("int32")))
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
                return self.tensors[place].data
            case Stored(offset):
                return self._address(self.weights, offset)
            case Temporary():
                return self._address(self.workspace, self.offsets[self.plan.slots[place]])

    def _address(self, buffer: Any, offset: Any) -> Any:
        index = tirx.IntImm("int64", offset) if isinstance(offset, int) else offset
        return tirx.address_of(tirx.BufferLoad(buffer, [index]))


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
