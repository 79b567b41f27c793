"""How functions run that TVM made of operators and tensor expressions, for which there is no kernel of ours.

Each of their loop nests becomes a stage: parallel over the outer axes of its result if the work is worth it, with
vectors along the innermost one if that has a known length. Where a stretch is one number, as for the threads of a GPU,
all axes of the result are.
"""

from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.region.code import as_constant, key, sequence, substitute
from graphwright.backends.tvm.tvm_library import s_tir, tirx


def scheduled_loops(function: Any, settings: Settings) -> Any:
    """The function with its loops parallel where that pays: not where there is less work than meeting others costs."""
    function = _inlined(function)
    root = function.body.block
    nests = list(root.body.seq) if isinstance(root.body, tirx.SeqStmt) else [root.body]
    body = sequence(_Nest(nest, settings).scheduled() for nest in nests)
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

    def __init__(self, statement: Any, settings: Settings) -> None:
        self.stretch, self.serial = settings["stretch"], settings["serial"]
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
        if self.stretch == 1:
            return self._fused(outer, body) if outer else body
        if outer and (as_constant(outer[-1][1]) or 0) > self.stretch:
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
        if length % self.stretch:
            return [loop], body
        far, near = (tirx.Var(f"{variable.name}_{n}", "int64") for n in ("stretch", "within"))
        body = substitute(body, {key(variable): far * self.stretch + near})
        stretches = tirx.IntImm("int64", length // self.stretch)
        return [(far, stretches), (near, tirx.IntImm("int64", self.stretch))], body

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
        return work <= self.serial
