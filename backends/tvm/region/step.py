"""A plan as code: one public function that runs a whole step on threads that start once and meet at barriers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphwright.backends.plan import Buffer, Plan, Stored, Temporary
from graphwright.backends.plan import Stage as Planned
from graphwright.backends.plan.plan import ALIGNMENT
from graphwright.backends.tvm.emit.emitter import type_name
from graphwright.backends.tvm.region.barrier import barrier
from graphwright.backends.tvm.region.code import sequence
from graphwright.backends.tvm.region.segments import Memory, call_segment, cut, segment_function
from graphwright.backends.tvm.region.stages import Stage
from graphwright.backends.tvm.sizes import Sizes
from graphwright.backends.tvm.tvm_library import tirx, tvm
from graphwright.ir.dims import Dim

WORKSPACE = "_workspace"
"""Ends the name of the function that tells how large a step's workspace is."""

HEAD = 4096
"""Bytes at the beginning of a workspace that hold the barrier's counter; slots lie behind them."""

COMPILED_APART = 3
"""A calling convention other than TVM's own ones: the function takes its parameters as C does, and is seen outside."""


@dataclass
class StepFunctions:
    """The functions of a library: `steps` and their workspace sizes, and the `stages` that they call.

    These are compiled apart. In one module LLVM would compile a stage anew for each layer that calls it.
    """

    target: Any
    code: Mapping[str, Stage]
    """The stages of all kernels, by symbol."""
    weight_bytes: int
    """The size of the weights file, which a step checks."""
    steps: dict[Any, Any] = field(default_factory=dict[Any, Any])
    stages: dict[Any, Any] = field(default_factory=dict[Any, Any])
    _added: set[str] = field(default_factory=set[str])

    def add(self, plan: Plan, dimensions: Sequence[str]) -> None:
        """Adds `<name>(tensors…, weights u8[], workspace u8[], threads i32)` and `<name>_workspace(sizes…) -> i64`.

        The latter takes the `dimensions`, which are those of the library.
        """
        for stage in plan.stages:
            if stage.function not in self._added:
                self._added.add(stage.function)
                function = self.code[stage.function].function.with_attr("calling_conv", COMPILED_APART)
                self._add(self.stages, stage.function, function)
        self._add(self.steps, plan.name, _Step(self, plan).function())
        self._add(self.steps, f"{plan.name}{WORKSPACE}", _workspace_size(plan, dimensions))

    def segment(self, name: str, function: Any) -> str:
        """Adds a piece of a step; the symbol under which it can be called."""
        symbol = f"graphwright_{name}"
        self._add(self.steps, symbol, function.with_attr("calling_conv", COMPILED_APART))
        return symbol

    def _add(self, functions: dict[Any, Any], name: str, function: Any) -> None:
        public = function.with_attr("global_symbol", name).with_attr("target", self.target)
        functions[tvm.ir.GlobalVar(name)] = public


def _sizes(plan: Plan) -> Sizes:
    """The plan's sizes as expressions over variables of a function's own."""
    sizes = Sizes()
    sizes.definitions.update(plan.definitions)
    return sizes


def _aligned(sizes: Sizes, size: Dim) -> Any:
    if size.constant is not None:
        return tirx.IntImm("int64", -(-size.constant // ALIGNMENT) * ALIGNMENT)
    return tirx.floordiv(sizes.expression(size + (ALIGNMENT - 1)), ALIGNMENT) * ALIGNMENT


def _workspace_size(plan: Plan, dimensions: Sequence[str]) -> Any:
    sizes = _sizes(plan)
    total: Any = tirx.IntImm("int64", HEAD)
    for size in plan.slots:
        total = total + _aligned(sizes, size)
    parameters = [sizes.variable(name) for name in dimensions]
    return tirx.PrimFunc(parameters, tirx.Return(tvm.sym.Analyzer().simplify(total)), ret_type=tvm.ir.PrimType("int64"))


class _Step:
    def __init__(self, library: StepFunctions, plan: Plan) -> None:
        self.library, self.plan, self.sizes = library, plan, _sizes(plan)
        self.tensors: dict[Buffer, Memory] = {
            each: Memory(
                tirx.decl_buffer(
                    self.sizes.shape(each.type.shape), type_name(each.type.dtype), each.name.replace(".", "_")
                )
            )
            for each in plan.parameters
        }
        # A step refuses other weights than those of this size: it would read beyond their end.
        weight_bytes = tirx.IntImm("int64", library.weight_bytes)
        self.weights, self.workspace = (
            Memory(tirx.decl_buffer([size], "uint8", name))
            for name, size in (("weights", weight_bytes), ("workspace", tirx.Var("workspace_size", "int64")))
        )
        self.threads, self.part = tirx.Var("threads", "int32"), tirx.Var("part", "int32")
        self.offsets = [tirx.Var(f"slot_{n}", "int64") for n in range(len(plan.slots))]

    def function(self) -> Any:
        memories = [*self.tensors.values(), self.weights, self.workspace]
        calls: list[Any] = []
        for number, statements in enumerate(cut([*self._statements()])):
            function = segment_function(statements, [self.weights, self.workspace])
            name = self.library.segment(f"{self.plan.name}_{number}", function)
            calls.append(call_segment(name, function, memories))
        region = tirx.For(self.part, tirx.IntImm("int32", 0), self.threads, tirx.ForKind.PARALLEL, sequence(calls))
        return tirx.PrimFunc(
            [*(memory.buffer for memory in memories), self.threads], sequence([*self._slots(), region])
        )

    def _slots(self) -> Iterator[Any]:
        end: Any = tirx.IntImm("int64", HEAD)
        for variable, size in zip(self.offsets, self.plan.slots, strict=True):
            yield tirx.Bind(variable, end)
            end = variable + _aligned(self.sizes, size)

    def _statements(self) -> Iterator[Any]:
        for stage in self.plan.stages:
            if stage.waits:
                yield barrier(self.workspace.address(0), self.threads)
            yield self._run(stage)

    def _run(self, stage: Planned) -> Any:
        pointers = [self._pointer(access.buffer) for access in stage.accesses]
        sizes = [tirx.Cast(type_name(dtype), self.sizes.expression(size)) for size, dtype in stage.sizes]
        arguments = [self.part, self.threads, *pointers, *sizes]
        statement = tirx.Evaluate(tirx.call_extern("int32", stage.function, *arguments))
        return statement if stage.extent is not None else tirx.IfThenElse(self.part == 0, statement, None)

    def _pointer(self, buffer: Buffer) -> Any:
        if isinstance(buffer, Stored):
            return self.weights.address(buffer.offset)
        if isinstance(buffer, Temporary):
            assert self.plan.slot_of is not None
            return self.workspace.address(self.offsets[self.plan.slot_of[buffer]])
        return self.tensors[buffer].pointer
