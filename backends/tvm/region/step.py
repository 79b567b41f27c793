"""The functions of a library that a runtime calls: a whole step on threads that start once, and its workspace."""

from collections.abc import Sequence
from typing import Any

from graphwright.backends.plan import Plan
from graphwright.backends.plan.plan import ALIGNMENT
from graphwright.backends.tvm.region.code import sequence
from graphwright.backends.tvm.region.plan_code import HEAD, fits_symbol, run_symbol
from graphwright.backends.tvm.sizes import Sizes
from graphwright.backends.tvm.tvm_library import tirx, tvm
from graphwright.ir.dims import Dim

WORKSPACE = "_workspace"
"""Ends the name of the function that tells how large a step's workspace is."""


def step_functions(plans: Sequence[Plan], dimensions: Sequence[str], target: Any) -> dict[Any, Any]:
    """The functions of a library, two for each plan.

    `<name>(tensors…, weights u8[], workspace u8[], threads i32)` runs a step, and `<name>_workspace(sizes…) -> i64`,
    which takes the `dimensions` of all the library's graphs, tells how large its workspace must be.
    """
    functions: dict[str, Any] = {}
    for plan in plans:
        functions[plan.name] = _step(plan)
        functions[f"{plan.name}{WORKSPACE}"] = _workspace_size(plan, dimensions)
    return {
        tvm.ir.GlobalVar(name): function.with_attr("global_symbol", name).with_attr("target", target)
        for name, function in functions.items()
    }


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
