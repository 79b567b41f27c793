"""How functions run that TVM made of operators and tensor expressions, for which there is no kernel of ours.

Each of their loop nests becomes a stage: parallel over the outer axes of its result if the work is worth it, with
vectors along the innermost one if that has a known length.
"""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.region.code import as_constant, key, sequence, substitute
from graphwright.backends.tvm.tvm_library import KERNEL, s_tir, tirx, tvm

SERIAL = 16_384
"""Numbers up to which a result is computed by one thread: less work than meeting the others costs is not divided."""
STRETCH = 64
"""Of the innermost axis, so many neighbours belong to one parallel iteration."""


def schedule_tail(module: Any) -> Any:
    """The module, its functions but for kernels with their loops parallel where that pays."""
    functions: dict[Any, Any] = {}
    for name, function in module.functions_items():
        if isinstance(function, tirx.PrimFunc) and not (function.attrs and KERNEL in function.attrs):
            functions[name] = _scheduled(function)
        else:
            functions[name] = function
    return tvm.IRModule(functions)


def _scheduled(function: Any) -> Any:
    function = _inlined(function)
    root = function.body.block
    nests = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    body = sequence(_Nest(nest).scheduled() for nest in nests)
    block = s_tir.SBlock(
        root.iter_vars,
        root.reads,
        root.writes,
        root.name_hint,
        body,
        root.init,
        root.alloc_buffers,
        root.match_buffers,
        root.annotations,
    )
    realize = s_tir.SBlockRealize(function.body.iter_values, function.body.predicate, block)
    return tirx.PrimFunc(function.params, realize, function.ret_type, function.attrs)


def _inlined(function: Any) -> Any:
    """The function without intermediate results that the next step can as well compute where it reads them."""
    schedule = s_tir.Schedule(function)
    for block in schedule.get_child_blocks(schedule.get_sblock("root")):
        if not schedule.get_consumers(block):
            continue
        try:
            schedule.compute_inline(block)
        except s_tir.ScheduleError:  # a reduction: it stays a stage of its own
            continue
    return schedule.mod["main"]


class _Nest:
    """Loops around one block, from the outside in."""

    def __init__(self, statement: Any) -> None:
        self.loops: list[Any] = []
        while isinstance(statement, tirx.For):
            self.loops.append(statement)
            statement = statement.body
        self.inner = statement
        self.spatial = 0
        if isinstance(statement, s_tir.SBlockRealize):
            for variable in statement.block.iter_vars:
                if variable.iter_type != tirx.IterVar.DataPar or self.spatial == len(self.loops):
                    break
                self.spatial += 1

    def scheduled(self) -> Any:
        body = self.inner
        for loop in reversed(self.loops[self.spatial :]):
            body = tirx.For(loop.loop_var, loop.min, loop.extent, loop.kind, body)
        outer = [(loop.loop_var, loop.extent) for loop in self.loops[: self.spatial]]
        if outer and (as_constant(outer[-1][1]) or 0) > STRETCH:
            outer[-1:], body = self._cut(outer[-1], body)
        if len(outer) > 1:
            variable, extent = outer.pop()
            body = tirx.For(variable, tirx.IntImm("int64", 0), extent, tirx.ForKind.SERIAL, body)
        if not outer:
            return body
        return self._fused(outer, body)

    def _cut(self, loop: tuple[Any, Any], body: Any) -> tuple[list[tuple[Any, Any]], Any]:
        """A long innermost loop as a loop over stretches and one within each."""
        variable, extent = loop
        length = as_constant(extent)
        assert length is not None
        if length % STRETCH:
            return [loop], body
        far, near = (tirx.Var(f"{variable.name}_{n}", "int64") for n in ("stretch", "within"))
        body = substitute(body, {key(variable): far * STRETCH + near})
        stretches = tirx.IntImm("int64", length // STRETCH)
        return [(far, stretches), (near, tirx.IntImm("int64", STRETCH))], body

    def _fused(self, loops: list[tuple[Any, Any]], body: Any) -> Any:
        """The loops as one, parallel if there is work for several threads."""
        whole = tirx.Var("item", "int64")
        values: dict[int, Any] = {}
        rest: Any = whole
        total: Any = tirx.IntImm("int64", 1)
        for index in reversed(range(len(loops))):
            variable, extent = loops[index]
            values[key(variable)] = tirx.floormod(rest, extent) if index else rest
            rest = tirx.floordiv(rest, extent)
            total = extent * total
        kind = tirx.ForKind.SERIAL if self._is_small() else tirx.ForKind.PARALLEL
        return tirx.For(whole, tirx.IntImm("int64", 0), total, kind, substitute(body, values))

    def _is_small(self) -> bool:
        work = 1
        for loop in self.loops:
            extent = as_constant(loop.extent)
            if extent is None:
                return False
            work *= extent
        return work <= SERIAL
