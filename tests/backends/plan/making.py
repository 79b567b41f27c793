"""Plans made by hand: each launch is one stage that reads what its op reads and writes what it makes."""

from __future__ import annotations

from collections.abc import Mapping

from graphwright.backends.plan import Access, Buffer, Given, Launch, Plan, Stage, Stored, Temporary
from graphwright.backends.plan.hazards import with_waits
from graphwright.backends.plan.memory import with_slots
from graphwright.backends.plan.plan import shown
from graphwright.ir import Dim, DType, Graph, Op, QuantizedType, StateType, Value, parse_program, tensor


def graph(inputs: str, *lines: str, outputs: str, weights: str = "", name: str = "g") -> Graph:
    """The graph that its text states."""
    body = "\n".join(lines)
    text = f'program "p"\n{weights}\ngraph {name}({inputs}) {{\n{body}\nreturn {outputs}\n}}'
    return next(iter(parse_program(text).graphs.values()))


def plan_of(graph: Graph, names: Mapping[Value, str] | None = None) -> Plan:
    """A plan without slots and waits. `names` are those of temporaries; by default t0, t1, ….

    Outputs are written to parameters of their own, but for caches, which are updated in place.
    """
    return _Maker(graph, names or {}).plan()


def whole_plan(graph: Graph) -> Plan:
    """A plan with slots and waits."""
    return finished(plan_of(graph))


def finished(plan: Plan) -> Plan:
    """The plan with slots and waits, in the place of those that it has."""
    return with_waits(with_slots(plan))


class _Maker:
    def __init__(self, graph: Graph, names: Mapping[Value, str]) -> None:
        self.graph, self.names = graph, names
        self.placement: dict[Value, Buffer] = {}
        self.stored: dict[str, Stored] = {}
        self.parameters: list[Given] = []
        self.outputs: dict[Value, Given] = {}
        self.temporaries = self.offset = 0

    def plan(self) -> Plan:
        for value in self.graph.inputs:
            self.placement[value] = self._given(str(value.name), value)
        for name, value in self.graph.outputs.items():
            if not isinstance(value.type, StateType) or value.type.layout == "recurrent":
                self.outputs.setdefault(shown(value), self._given(name, shown(value)))
        launches: list[Launch] = []
        for op in self.graph:
            if not op.definition.view:
                launches.append(self._launch(op))
            elif (buffer := self.placement.get(op.inputs[0])) is not None:
                self.placement[op.result] = buffer
        return Plan(self.graph, {}, tuple(self.parameters), self.placement, tuple(launches))

    def _given(self, name: str, value: Value) -> Given:
        given = Given(name, value.tensor)
        self.parameters.append(given)
        return given

    def _launch(self, op: Op) -> Launch:
        accesses: dict[Buffer, list[bool]] = {}
        for value in op.inputs:
            accesses.setdefault(self._read(value), [False, False])[0] = True
        for index, value in enumerate(op.results):
            operand = op.definition.in_place.get(index)
            buffer = self._new(value) if operand is None else self.placement[op.required(operand)]
            self.placement[value] = buffer
            accesses.setdefault(buffer, [False, False])[1] = True
        made = op.results[0].type
        stage = Stage(
            f"{op.name}_code",
            made.elements if made.rank else None,
            tuple(Access(buffer, *kinds) for buffer, kinds in accesses.items()),
            tuple((Dim.of(symbol), DType.I64) for symbol in sorted(self.graph.symbols)),
        )
        return Launch(op, (stage,))

    def _read(self, value: Value) -> Buffer:
        weight = shown(value).weight
        if weight is None:
            return self.placement[value]
        if weight.name not in self.stored:
            type = shown(value).type
            bytes = -(-type.bits.evaluate({}) // 8)
            held = tensor("u8", bytes) if isinstance(type, QuantizedType) else shown(value).tensor
            self.stored[weight.name] = Stored(weight.name, held, weight.name, self.offset)
            self.offset += bytes
        return self.stored[weight.name]

    def _new(self, value: Value) -> Buffer:
        if value in self.outputs:
            return self.outputs[value]
        self.temporaries += 1
        return Temporary(self.names.get(value, f"t{self.temporaries - 1}"), value.tensor)
