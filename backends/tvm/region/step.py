"""The functions of a library that a runtime calls: a whole step on threads that start once, and its workspace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphwright.backends.plan import Plan
from graphwright.backends.plan.plan import ALIGNMENT
from graphwright.backends.tvm.region.code import sequence
from graphwright.backends.tvm.region.plan_code import HEAD, fits_symbol, run_symbol
from graphwright.backends.tvm.region.stages import Stage
from graphwright.backends.tvm.sizes import Sizes
from graphwright.backends.tvm.tvm_library import tirx, tvm
from graphwright.ir.dims import Dim

WORKSPACE = "_workspace"
"""Ends the name of the function that tells how large a step's workspace is."""

C_FUNCTION = 3
"""A calling convention other than TVM's own ones: the function takes its parameters as C does, and is seen outside."""


@dataclass
class StepFunctions:
    """The functions of a library: `steps` and their workspace sizes, and the `stages` that plans call."""

    target: Any
    code: Mapping[str, Stage]
    """The stages of all kernels, by symbol."""
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
                function = self.code[stage.function].function.with_attr("calling_conv", C_FUNCTION)
                self._add(self.stages, stage.function, function)
        self._add(self.steps, plan.name, _step(plan))
        self._add(self.steps, f"{plan.name}{WORKSPACE}", _workspace_size(plan, dimensions))

    def _add(self, functions: dict[Any, Any], name: str, function: Any) -> None:
        public = function.with_attr("global_symbol", name).with_attr("target", self.target)
        functions[tvm.ir.GlobalVar(name)] = public


def _step(plan: Plan) -> Any:
    """Checks that the plan can run on what it is given, and runs it in one parallel region."""
    names = [*(each.name.replace(".", "_") for each in plan.parameters), "weights", "workspace"]
    tensors = [tirx.Var(name, "handle") for name in names]
    threads, part = tirx.Var("threads", "int32"), tirx.Var("part", "int32")
    fits = tirx.call_extern("int32", fits_symbol(plan.name), *tensors)
    message = f"a tensor that {plan.name} is given has another type, shape or size than it takes"
    check = tirx.AssertStmt(tirx.NE(fits, 0), tvm.ir.StringImm("ValueError"), [tvm.ir.StringImm(message)])
    call = tirx.call_extern("int32", run_symbol(plan.name), part, threads, *tensors)
    region = tirx.For(part, tirx.IntImm("int32", 0), threads, tirx.ForKind.PARALLEL, tirx.Evaluate(call))
    return tirx.PrimFunc([*tensors, threads], sequence([check, region]))


def _workspace_size(plan: Plan, dimensions: Sequence[str]) -> Any:
    sizes = Sizes()
    sizes.definitions.update(plan.definitions)
    total: Any = tirx.IntImm("int64", HEAD)
    for size in plan.slots:
        total = total + _aligned(sizes, size)
    parameters = [sizes.variable(name) for name in dimensions]
    total = tvm.sym.Analyzer().simplify(total)
    return tirx.PrimFunc(parameters, tirx.Return(total), ret_type=tvm.ir.PrimType("int64"))


def _aligned(sizes: Sizes, size: Dim) -> Any:
    if size.constant is not None:
        return tirx.IntImm("int64", -(-size.constant // ALIGNMENT) * ALIGNMENT)
    return tirx.floordiv(sizes.expression(size + (ALIGNMENT - 1)), ALIGNMENT) * ALIGNMENT
