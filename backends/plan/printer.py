"""Prints plans. What it prints, the parser reads back to the same text.

plan forward(B) {
  define blocks = floordiv(B+7, 8)
  given x : f32[B, 4] of %x
  given y : f32[B, 4]
  stored gain : f32[4] at 128 of @gain
  slot 0 : 16*B
  temporary t0 : f32[B, 4] in 0

  %0 = mul(%x, @gain) : f32[B, 4]  at model.norm
    in t0
    by products(unroll=4)
    stage mul_0(r x, r gain, w t0) sizes(B: i64) over blocks
  %1 = exp(%0) : f32[B, 4]
    in y
    wait
    stage exp_0(r t0, w y) one thread
}
"""

from collections.abc import Iterable, Iterator

from graphwright.backends.plan.plan import Access, Buffer, Given, Launch, Plan, Stage, Stored, Temporary
from graphwright.ir.graph import Op, Value
from graphwright.ir.text.printer import name_text, op_text, value_names

LEGEND = """\
// How the graphs of a program run: a plan for each. First its memory: tensors that are given (those of inputs; the
// others take outputs), weights in the weights file (type, offset in bytes, of which weight), and temporaries in slots
// of the workspace (sizes in bytes). Then its launches in order: an op of the graph, the buffers that its results are
// in, the kernel with its choices, and its stages: function, buffers that it reads (r) and writes (w), sizes, and how
// many iterations threads share. Of stages in other arms of a branch of their launch one runs. All threads meet at a
// wait. A view is where its operand is and launches nothing.
"""


def print_plans(plans: Iterable[Plan]) -> str:
    """Plans of the graphs of one program as the text of a file, for people and for `parse_plans`."""
    return "\n".join([LEGEND, *map(print_plan, plans)])


def print_plan(plan: Plan) -> str:
    """The plan as text, which is all of it but for its graph."""
    return "\n".join(_Printer(plan).lines()) + "\n"


class _Printer:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.names = value_names(plan.graph)
        self.placed: set[Value] = set()
        """Values whose buffers are printed."""

    def lines(self) -> Iterator[str]:
        plan = self.plan
        yield f"plan {name_text(plan.name)}({', '.join(sorted(plan.graph.symbols))}) {{"
        for name, definition in plan.definitions.items():
            yield f"  define {name} = {definition.kind}({definition.first}, {definition.second})"
        buffers = self._buffers()
        yield from (f"  {self._given(b)}" for b in buffers if isinstance(b, Given))
        yield from (f"  {_stored(b)}" for b in buffers if isinstance(b, Stored))
        yield from (f"  slot {number} : {size}" for number, size in enumerate(plan.slots))
        yield from (f"  {self._temporary(b)}" for b in buffers if isinstance(b, Temporary))
        yield ""
        yield from self._ops()
        rest = (value for value in self.names if value in plan.placement and value not in self.placed)
        yield from (f"  place {self.names[value]} in {name_text(plan.placement[value].name)}" for value in rest)
        yield "}"

    def _buffers(self) -> list[Buffer]:
        """Those of the plan, then those that no stage accesses."""
        plan = self.plan
        known = dict.fromkeys(plan.buffers)
        others = {*plan.placement.values(), *(plan.slot_of or {})} - known.keys()
        return [*known, *sorted(others, key=lambda buffer: buffer.name)]

    def _given(self, buffer: Given) -> str:
        text = f"given {name_text(buffer.name)} : {buffer.type}"
        for value in self.plan.graph.inputs:
            if value.name == buffer.graph_name and self.plan.placement.get(value) is buffer:
                self.placed.add(value)
                return f"{text} of {self.names[value]}"
        return f"{text} for {name_text(buffer.stands_for)}" if buffer.stands_for else text

    def _temporary(self, buffer: Temporary) -> str:
        text = f"temporary {name_text(buffer.name)} : {buffer.type}"
        slots = self.plan.slot_of
        return text if slots is None or buffer not in slots else f"{text} in {slots[buffer]}"

    # -- launches

    def _ops(self) -> Iterator[str]:
        """The launches in order; views of what a launch makes behind it, those of inputs and weights before all."""
        launched = {launch.op for launch in self.plan.launches}
        views: dict[Op | None, list[Op]] = {}
        for op in self.plan.graph:
            if op.definition.view and op not in launched:
                source = op.inputs[0].owner
                while source is not None and source.definition.view and source not in launched:
                    source = source.inputs[0].owner
                views.setdefault(source, []).append(op)
        for view in views.get(None, ()):
            yield from self._op(view)
        for launch in self.plan.launches:
            yield from self._op(launch.op)
            yield from self._stages(launch)
            for view in views.get(launch.op, ()):
                yield from self._op(view)

    def _op(self, op: Op) -> Iterator[str]:
        yield f"  {op_text(op, self.names)}"
        buffers = [self.plan.placement.get(value) for value in op.results]
        if any(buffer is not None for buffer in buffers):
            self.placed.update(op.results)
            yield f"    in {', '.join('-' if buffer is None else name_text(buffer.name) for buffer in buffers)}"

    def _stages(self, launch: Launch) -> Iterator[str]:
        if launch.kernel:
            settings = ", ".join(f"{name}={value}" for name, value in launch.settings)
            yield f"    by {name_text(launch.kernel)}{settings and f'({settings})'}"
        for stage in launch.stages:
            if stage.waits:
                yield "    wait"
            yield f"    {_stage(stage)}"


def _stored(buffer: Stored) -> str:
    return f"stored {name_text(buffer.name)} : {buffer.type} at {buffer.offset} of @{name_text(buffer.weight)}"


def _stage(stage: Stage) -> str:
    accesses = ", ".join(f"{_kind(access)} {name_text(access.buffer.name)}" for access in stage.accesses)
    sizes = ", ".join(f"{size}: {dtype}" for size, dtype in stage.sizes)
    given = f" sizes({sizes})" if sizes else ""
    threads = "one thread" if stage.extent is None else f"over {stage.extent}"
    arms = ", ".join(f"arm {arm} of branch {branch}" for branch, arm in stage.arms)
    return f"stage {name_text(stage.function)}({accesses}){given} {threads}{arms and f' in {arms}'}"


def _kind(access: Access) -> str:
    return "r" * access.reads + "w" * access.writes or "-"
