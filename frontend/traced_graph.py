"""What is read from torch's traced graphs; the only file that knows the untyped parts of torch.export."""

from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, cast

import torch
from torch.export import ExportedProgram

Node = torch.fx.Node


def operator_name(node: Node) -> str:
    """`aten.add.Tensor`, `mylib.op.default`, or the name of a Python function such as `getitem`."""
    target: Any = node.target
    return str(target) if is_operator(node) else str(getattr(target, "__name__", target))


def is_operator(node: Node) -> bool:
    """Whether the node calls a torch operator, not a Python function on sizes."""
    return node.op == "call_function" and isinstance(node.target, torch._ops.OpOverload)


def is_mutating(node: Node) -> bool:
    target: Any = node.target
    return is_operator(node) and bool(target._schema.is_mutable)


def traced_value(node: Node) -> Any:
    """What the node gave while tracing: a fake tensor, a symbolic size, or a list of those."""
    return node.meta.get("val")


def gives_tensors(node: Node) -> bool:
    def is_tensor(item: Any) -> bool:
        return isinstance(item, torch.Tensor)

    result = traced_value(node)
    return is_tensor(result) or (isinstance(result, (list, tuple)) and all(map(is_tensor, cast("list[Any]", result))))


def module_path(node: Node) -> str:
    """The path of the innermost module that the node comes from, seen from the traced module; empty if unknown."""
    stack: dict[str, tuple[str, Any]] = node.meta.get("nn_module_stack") or {}
    paths = [path for path, _ in stack.values() if not path.startswith("_empty")]
    return paths[-1].removeprefix("L['self']").removeprefix(".") if paths else ""


def live_nodes(exported: ExportedProgram, results: Iterable[Node] | None = None) -> list[Node]:
    """The nodes that these results need, by default all, and every input of the user, in order."""
    nodes = [node for node in exported.graph.nodes if node.op != "output"]
    user_inputs = set(exported.graph_signature.user_inputs)
    needed = set(result_nodes(exported) if results is None else results)
    for node in reversed(nodes):
        if node in needed or node.name in user_inputs:
            needed.update(node.all_input_nodes, (node,))
    return [node for node in nodes if node in needed]


def result_nodes(exported: ExportedProgram) -> list[Node]:
    """What the traced module returned, in order."""
    results: Any = next(node for node in reversed(exported.graph.nodes) if node.op == "output").args[0]
    return list(results)


def definition(node: Node) -> Callable[..., Any] | None:
    """torch's own definition of the node's operator in terms of others, if it has one."""
    return _definitions().get(node.target)


@lru_cache(maxsize=1)
def _definitions() -> dict[Any, Callable[..., Any]]:
    table: Any = torch.export.default_decompositions()
    return table.materialize()


def decomposed(exported: ExportedProgram, table: Mapping[Any, Callable[..., Any]]) -> ExportedProgram:
    """The program with the operators in the table broken up, and with no operator that changes its operands."""
    untyped: Any = exported
    return untyped.run_decompositions(dict(table))


def output_names(exported: ExportedProgram) -> list[str]:
    """The keys of the dictionary that the traced module returned."""
    specification: Any = exported.call_spec.out_spec
    return list(specification.context)


def result_structure(exported: ExportedProgram, leaves: list[Any]) -> Any:
    """What the traced module returned, with these objects in place of its tensors."""
    untyped: Any = exported
    return untyped.call_spec.out_spec.unflatten(leaves)


def expression(size: torch.SymInt | torch.SymFloat | torch.SymBool) -> Any:
    """The sympy expression behind a symbolic size, or behind what was computed from sizes."""
    untyped: Any = size
    return untyped.node.expr


def bounds(exported: ExportedProgram, symbol: Any) -> tuple[int, int | None]:
    """The smallest and, if there is one, the largest value for which the trace holds."""
    untyped: Any = exported
    allowed = untyped.range_constraints[symbol]
    return int(allowed.lower), int(allowed.upper) if allowed.upper.is_Integer else None


def guards(exported: ExportedProgram) -> list[str]:
    """Conditions on the inputs' sizes under which the trace holds, as Python expressions."""
    return list(getattr(exported, "_guards_code", None) or ())


def inequalities(exported: ExportedProgram) -> list[tuple[Any, str]]:
    """Polynomials of sizes, as sympy expressions, of which the trace takes for granted that they are not zero.

    Each comes with the user's line that asked, empty if unknown.
    """
    values = [traced_value(node) for node in exported.graph.nodes if node.op == "placeholder"]
    sizes: list[Any] = [size for value in values if isinstance(value, torch.Tensor) for size in value.shape]
    symbolic: list[Any] = [size for size in sizes if isinstance(size, torch.SymInt)]
    found: list[tuple[Any, str]] = []
    for guard in cast("list[Any]", symbolic[0].node.shape_env.guards if symbolic else []):
        if guard.expr.func.__name__ == "Unequality":
            frame: Any = guard.sloc.framework_loc
            line = f"{frame.filename}:{frame.lineno}" if hasattr(frame, "filename") else ""
            found.append((symbolic[0].node.shape_env.replace(guard.expr.lhs - guard.expr.rhs), line))
    return found


@contextmanager
def as_while_exporting() -> Generator[None]:
    """While this lasts code that asks torch is told that it is being exported, as it is told in a trace."""
    flags: Any = torch.compiler
    before = flags._is_compiling_flag, flags._is_exporting_flag
    flags._is_compiling_flag = flags._is_exporting_flag = True
    try:
        yield
    finally:
        flags._is_compiling_flag, flags._is_exporting_flag = before


def fake_tensors() -> Any:
    """A context in which tensors have shapes and element types and no values, as in a trace."""
    from torch._subclasses.fake_tensor import FakeTensorMode

    return FakeTensorMode(allow_non_fake_inputs=True)
