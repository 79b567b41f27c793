"""A flat kernel, taken apart into stages: the pieces between which threads may have to wait for each other.

A parallel loop at the top of a kernel is a stage in which each thread takes its share of the iterations; what stands
between two of them is a stage that one thread runs. Branches on sizes guard each stage within them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

from graphwright.backends.tvm.region.code import (
    accessed_buffers,
    contains_parallel_loop,
    free_variables,
    is_buffer,
    key,
    sequence,
    substitute,
    variables,
)
from graphwright.backends.tvm.tvm_library import tirx, tvm
from graphwright.ir.errors import UnsupportedError

CPU = 1
"""DLPack's number of the CPU."""


@dataclass(frozen=True)
class Stage:
    """One private function `(part, parts, pointers to buffers, sizes)` of a kernel.

    `buffers` are the kernel's buffers that it takes, in order: parameters of the kernel, or its own scratch; `reads`
    and `writes` are the keys of those that it does that to. `sizes` are the kernel's scalar variables that it takes.
    `extent` is the number of iterations that threads share, an expression over these variables; None if one thread runs
    the stage. `arms` are the branches of the kernel that guard it, by number, and which of their two arms it stands in.
    """

    name: str
    function: Any
    extent: Any | None
    arms: tuple[tuple[int, int], ...]
    buffers: tuple[Any, ...]
    sizes: tuple[Any, ...]
    reads: frozenset[int]
    writes: frozenset[int]


@dataclass(frozen=True)
class Kernel:
    """A kernel as its stages in order.

    `parameters` are the buffers and scalars that a call gives; `scratch` are its own buffers that stages share.
    """

    name: str
    parameters: tuple[Any, ...]
    scratch: tuple[Any, ...]
    stages: tuple[Stage, ...]


def split_kernel(name: str, function: Any, *, by_item: bool = False) -> Kernel:
    """The stages of a flat PrimFunc. Raises `UnsupportedError` for one whose parallel loops are not all at the top.

    If `by_item`, a stage's function takes the number of one iteration in place of a part and the number of parts, and
    a stage of one thread has one iteration.
    """
    definitions: dict[int, Any] = {}
    scratch: list[Any] = []
    found: list[_Piece] = []
    for statement, guards in _top(function.body, (), count()):
        if isinstance(statement, tirx.DeclBuffer):
            definitions[key(statement.buffer)] = statement
        elif isinstance(statement, tirx.Bind):
            definitions[key(statement.var)] = statement
        elif isinstance(statement, tirx.AllocBuffer):
            scratch.append(statement.buffer)
        else:
            loop = isinstance(statement, tirx.For) and statement.kind == tirx.ForKind.PARALLEL
            if contains_parallel_loop(statement.body if loop else statement):
                raise UnsupportedError(f"kernel '{name}': a parallel loop stands below the top; move it up")
            alone = () if loop or _reads_memory(statement, definitions) else found[-1:]
            if any(not piece.parallel and _arms(piece.guards) == _arms(guards) for piece in alone):
                found[-1] = replace(found[-1], statements=(*found[-1].statements, statement))
            else:
                found.append(_Piece((statement,), guards, loop))
    given = {key(v): v for v in (*function.params, *scratch)}
    target = function.attrs["target"]
    stages = tuple(
        _stage(f"graphwright_{name}_{n}", piece, definitions, given, target, by_item) for n, piece in enumerate(found)
    )
    return Kernel(name, tuple(function.params), tuple(scratch), stages)


@dataclass(frozen=True)
class _Guard:
    """One arm of a branch of a kernel, and the condition under which it runs."""

    branch: int
    arm: int
    condition: Any


def _arms(guards: tuple[_Guard, ...]) -> tuple[tuple[int, int], ...]:
    return tuple((guard.branch, guard.arm) for guard in guards)


@dataclass(frozen=True)
class _Piece:
    """What becomes a stage: a parallel loop, or neighbours that one thread runs under the same guards."""

    statements: tuple[Any, ...]
    guards: tuple[_Guard, ...]
    parallel: bool


def _reads_memory(statement: Any, definitions: dict[int, Any]) -> bool:
    """Whether a variable of a statement is bound to what stands in memory: it has its value when a stage begins."""
    bound = [each for each in _definitions(statement, definitions)[1] if isinstance(each, tirx.Bind)]
    return any(accessed_buffers(each)[0] for each in bound)


def _top(
    statement: Any, guards: tuple[_Guard, ...], branches: Iterator[int]
) -> Iterator[tuple[Any, tuple[_Guard, ...]]]:
    """The statements at the top, each with what guards it; `branches` numbers the branches."""
    if isinstance(statement, tirx.SeqStmt):
        for each in statement.seq:
            yield from _top(each, guards, branches)
    elif isinstance(statement, tirx.AttrStmt) and contains_parallel_loop(statement):
        yield from _top(statement.body, guards, branches)
    elif isinstance(statement, tirx.IfThenElse) and contains_parallel_loop(statement):
        branch = next(branches)
        yield from _top(statement.then_case, (*guards, _Guard(branch, 0, statement.condition)), branches)
        if statement.else_case is not None:
            otherwise = _Guard(branch, 1, tirx.Not(statement.condition))
            yield from _top(statement.else_case, (*guards, otherwise), branches)
    else:
        yield statement, guards


def _stage(
    name: str,
    piece: _Piece,
    definitions: dict[int, Any],
    given: dict[int, Any],
    target: Any,
    by_item: bool,
) -> Stage:
    if by_item:
        workers = (tirx.Var("item", "int64"),)
        body = _one_of(piece.statements[0] if piece.parallel else None, sequence(piece.statements), *workers)
    else:
        workers = tirx.Var("part", "int32"), tirx.Var("parts", "int32")
        body = _share(piece.statements[0], *workers) if piece.parallel else sequence(piece.statements)
    for guard in reversed(piece.guards):
        body = tirx.IfThenElse(guard.condition, body, None)
    needed, prelude = _definitions(body, definitions)
    taken = [given[k] for k in needed if k in given]
    buffers = [v for v in taken if is_buffer(v)]
    pointers = {key(v): tirx.Var(f"{v.name}_data", tvm.ir.PointerType(v.ty.dtype)) for v in buffers}
    sizes = [v for k, v in needed.items() if k not in {*pointers, *map(key, workers)}]
    views = {key(s.buffer): key(_source(s)) for s in prelude if isinstance(s, tirx.DeclBuffer)}
    declared = [_declared(s, pointers) for s in prelude]
    direct = [tirx.DeclBuffer(v, data=pointers[key(v)]) for v in buffers if key(v) not in views.values()]
    reads, writes = accessed_buffers(sequence([*(s for s in prelude if isinstance(s, tirx.Bind)), body]))
    function = tirx.PrimFunc(
        [*workers, *(pointers[key(v)] for v in buffers), *sizes],
        _on_this_device([*direct, *declared, body]),
        ret_type=tvm.ir.PrimType("int32"),
        attrs=tvm.ir.make_node("ir.DictAttrs", target=target),
    )
    return Stage(
        name,
        function,
        _spelt_out(piece.statements[0].extent, definitions) if piece.parallel else None,
        _arms(piece.guards),
        tuple(buffers),
        tuple(sizes),
        frozenset(views.get(k, k) for k in reads) & pointers.keys(),
        frozenset(views.get(k, k) for k in writes) & pointers.keys(),
    )


def _on_this_device(statements: list[Any]) -> Any:
    """The statements, which may ask for scratch that is too large for the stack."""
    body = tirx.SeqStmt([*statements, tirx.Return(tirx.IntImm("int32", 0))])
    for attribute, value in (("device_id", 0), ("device_type", CPU)):
        body = tirx.AttrStmt(tvm.ir.StringImm("default"), attribute, tirx.IntImm("int32", value), body)
    return body


def _share(loop: Any, part: Any, parts: Any) -> Any:
    """The loop over one thread's share of its iterations."""
    wide = loop.loop_var.ty
    extent = tirx.Cast("int64", loop.extent)
    share = [tirx.truncdiv(extent * tirx.Cast("int64", each), tirx.Cast("int64", parts)) for each in (part, part + 1)]
    first, count = tirx.Cast(wide, share[0]), tirx.Cast(wide, share[1] - share[0])
    return tirx.For(loop.loop_var, loop.min + first, count, tirx.ForKind.SERIAL, loop.body)


def _one_of(loop: Any | None, alone: Any, item: Any) -> Any:
    """One iteration of the loop, where there are as many; without a loop what stands alone is the only iteration."""
    if loop is None:
        return tirx.IfThenElse(item < 1, alone, None)
    number = loop.min + tirx.Cast(loop.loop_var.ty, item)
    return tirx.IfThenElse(
        item < tirx.Cast("int64", loop.extent), substitute(loop.body, {key(loop.loop_var): number}), None
    )


def _spelt_out(expression: Any, definitions: dict[int, Any]) -> Any:
    """The expression without variables that are bound in the kernel."""
    found = {key(v): definitions[key(v)] for v in variables(expression) if key(v) in definitions}
    bound = {k: _spelt_out(s.value, definitions) for k, s in found.items() if isinstance(s, tirx.Bind)}
    return substitute(expression, bound) if bound else expression


def _source(declaration: Any) -> Any:
    """The buffer that a declaration is a view of."""
    found = [v for v in variables(declaration.data) if is_buffer(v)]
    assert len(found) == 1, f"{declaration} views {len(found)} buffers"
    return found[0]


def _declared(definition: Any, pointers: dict[int, Any]) -> Any:
    if not isinstance(definition, tirx.DeclBuffer):
        return definition
    return tirx.DeclBuffer(definition.buffer, data=pointers[key(_source(definition))])


def _definitions(body: Any, definitions: dict[int, Any]) -> tuple[dict[int, Any], list[Any]]:
    """What a stage takes from outside, and the definitions that it repeats, in order."""
    needed: dict[int, Any] = {}
    used: dict[int, Any] = {}

    def visit(names: list[Any]) -> None:
        for variable in names:
            definition = definitions.get(key(variable))
            if definition is None:
                needed.setdefault(key(variable), variable)
                if is_buffer(variable):
                    visit([v for size in variable.shape for v in variables(size)])
            elif key(variable) not in used:
                if isinstance(definition, tirx.DeclBuffer):
                    visit(variables(definition.data))
                    visit([v for size in definition.buffer.shape for v in variables(size)])
                else:
                    visit(variables(definition.value))
                used[key(variable)] = definition

    visit(free_variables(body))
    return needed, list(used.values())
