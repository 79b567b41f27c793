"""Looking into flat TensorIR and changing it: the few questions that taking kernels apart asks."""

from collections.abc import Iterable
from typing import Any

from graphwright.backends.tvm.tvm_library import tirx, tvm, tvm_ffi

ADDRESSES = ("tirx.address_of", "tirx.buffer_data", "tirx.tvm_access_ptr")
"""Calls that let what they are given be read and written behind our back."""


def key(variable: Any) -> int:
    """A variable's identity; TVM's `==` between variables makes an expression."""
    return hash(variable)


def is_buffer(variable: Any) -> bool:
    return tirx.buffer.is_buffer_var(variable)


def sequence(statements: Iterable[Any]) -> Any:
    """The statements one after another."""
    given = list(statements)
    return given[0] if len(given) == 1 else tirx.SeqStmt(given)


def as_constant(expression: Any) -> int | None:
    """The number that an integer expression is, if it is one."""
    if isinstance(expression, int):
        return expression
    return int(expression.value) if isinstance(expression, tirx.IntImm) else None


def free_variables(statement: Any) -> list[Any]:
    """Variables and buffers that a statement uses and does not define."""
    return list(tirx.analysis.undefined_vars(statement, []))


def nodes(code: Any, kind: Any) -> list[Any]:
    """All nodes of a kind in the code."""
    found: list[Any] = []
    tvm_ffi.structural_walk(code, (kind, found.append))
    return found


def variables(expression: Any) -> list[Any]:
    """Variables and buffers in an expression, which may be no scalar."""
    return nodes(expression, tvm.ir.Var)


def contains_parallel_loop(statement: Any) -> bool:
    return any(loop.kind == tirx.ForKind.PARALLEL for loop in nodes(statement, tirx.For))


def substitute(code: Any, values: dict[int, Any]) -> Any:
    """The code with variables, by `key`, replaced."""

    def change(variable: Any) -> Any:
        return values.get(key(variable), variable)

    return tvm_ffi.structural_map(code, (tvm.ir.Var, change))


def accessed_buffers(statement: Any) -> tuple[set[int], set[int]]:
    """The keys of buffers that are read and that are written.

    A buffer whose address is taken counts as both, unless memory is only asked for what lies there.
    """
    reads = {key(load.source) for load in nodes(statement, tvm.ir.TensorLoad)}
    writes = {key(store.buffer) for store in nodes(statement, tirx.BufferStore)}
    calls = nodes(statement, tvm.ir.Call)
    asked = {hash(call.args[1]) for call in calls if _is_prefetch(call)}
    taken = [c for c in calls if str(getattr(c.op, "name", "")) in ADDRESSES and hash(c) not in asked]
    addressed = {key(v) for call in taken for v in variables(call) if is_buffer(v)}
    return reads | addressed, writes | addressed


def _is_prefetch(call: Any) -> bool:
    intrinsic = str(getattr(call.op, "name", "")) == "tirx.call_llvm_intrin"
    return intrinsic and as_constant(call.args[0]) == tvm.target.codegen.llvm_lookup_intrinsic_id("llvm.prefetch")
