"""Reads plans. Errors name file, line and column, and what was expected there: lines of ops are those of the graph.

What a plan means is for `verify_plan` to check; here it is that the text states one.
"""

from typing import get_args

from graphwright.backends.plan.plan import (
    Access,
    Buffer,
    Definition,
    DefinitionKind,
    Given,
    Launch,
    Plan,
    Stage,
    Stored,
    Temporary,
)
from graphwright.ir.dims import Dim, parse_integer
from graphwright.ir.errors import IRTypeError
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.program import Program
from graphwright.ir.text.atoms import AtomParser
from graphwright.ir.text.lexer import Lexer
from graphwright.ir.text.printer import op_text, value_names
from graphwright.ir.types import DType, TensorType

KINDS: tuple[DefinitionKind, ...] = get_args(DefinitionKind)
ACCESSES = {"r": (True, False), "w": (False, True), "rw": (True, True), "-": (False, False)}


def parse_plan(text: str, of: Graph | Program, file: str = "<text>") -> Plan:
    """The one plan that the text states, of a graph or of one of the program's. Raises `TextError`."""
    lexer = Lexer(text, file)
    plan = _plan(lexer, of)
    if lexer.peek.kind != "end":
        raise lexer.error(f"expected the end, found {lexer.describe()}")
    return plan


def parse_plans(text: str, program: Program, file: str = "<text>") -> list[Plan]:
    """The plans that the text states, each of another graph of the program. Raises `TextError`."""
    lexer = Lexer(text, file)
    plans: dict[str, Plan] = {}
    while lexer.peek.kind != "end":
        start = lexer.peek.start
        plan = _plan(lexer, program)
        if plan.name in plans:
            raise lexer.error(f"there are two plans of graph '{plan.name}'", start)
        plans[plan.name] = plan
    return list(plans.values())


def _plan(lexer: Lexer, of: Graph | Program) -> Plan:
    lexer.expect("plan")
    start = lexer.peek.start
    name = AtomParser(lexer).name()
    graphs = of.graphs if isinstance(of, Program) else {of.name: of}
    if name not in graphs:
        raise lexer.error(f"there is no graph '{name}', there are {', '.join(graphs) or 'none'}", start)
    return _PlanParser(lexer, graphs[name]).plan()


class _PlanParser(AtomParser):
    """Reads one plan behind its name."""

    def __init__(self, lexer: Lexer, graph: Graph) -> None:
        super().__init__(lexer)
        self.graph = graph
        self.texts = value_names(graph)
        self.values = {text: value for value, text in self.texts.items() if value.weight is None}
        self.definitions: dict[str, Definition] = {}
        self.parameters: list[Given] = []
        self.buffers: dict[str, Buffer] = {}
        self.slots: list[Dim] = []
        self.slot_of: dict[Buffer, int] = {}
        self.placement: dict[Value, Buffer] = {}
        self.launches: list[Launch] = []
        self.stated: set[Op] = set()

    def plan(self) -> Plan:
        lexer = self.lexer
        self.symbols()
        lexer.expect("{")
        statements = {
            "define": self.define,
            "given": self.given,
            "stored": self.stored,
            "slot": self.slot,
            "temporary": self.temporary,
            "place": self.place,
        }
        while not lexer.accept("}"):
            if lexer.peek.kind == "value":
                self.op()
                continue
            statement = statements.get(lexer.peek.text)
            if statement is None or lexer.peek.kind != "name":
                raise lexer.error(f"expected the line of an op, {', '.join(statements)} or '}}', found {self.found}")
            lexer.next()
            statement()
        planned = bool(self.slots) or all(not isinstance(b, Temporary) for b in self.buffers.values())
        return Plan(
            graph=self.graph,
            definitions=self.definitions,
            parameters=tuple(self.parameters),
            placement=self.placement,
            launches=tuple(self.launches),
            slots=tuple(self.slots),
            slot_of=self.slot_of if planned else None,
        )

    @property
    def found(self) -> str:
        return self.lexer.describe()

    # -- sizes

    def symbols(self) -> None:
        """The graph's symbols, which the text repeats."""
        lexer = self.lexer
        start = lexer.peek.start
        lexer.expect("(")
        found: list[str] = []
        while not lexer.accept(")"):
            found.append(lexer.expect_kind("name", "a symbol"))
            if lexer.peek.text != ")":
                lexer.expect(",")
        if found != (symbols := sorted(self.graph.symbols)):
            raise lexer.error(f"the symbols of graph '{self.graph.name}' are ({', '.join(symbols)})", start)

    def dim(self) -> Dim:
        start = self.lexer.peek.start
        size = super().dim()
        for symbol in sorted(size.symbols - self.graph.symbols - self.definitions.keys()):
            raise self.lexer.error(f"'{symbol}' is not a symbol of the graph and is not defined before", start)
        return size

    def integer(self, what: str) -> int:
        start = self.lexer.peek.start
        try:
            return parse_integer(self.lexer.expect_kind("integer", what))
        except IRTypeError as problem:
            raise self.lexer.error(str(problem), start) from None

    def define(self) -> None:
        lexer = self.lexer
        start = lexer.peek.start
        name = lexer.expect_kind("name", "a name")
        if "." in name or name in self.definitions or name in self.graph.symbols:
            raise lexer.error(f"'{name}' cannot be defined: it is known, or no symbol", start)
        lexer.expect("=")
        kind: DefinitionKind | None = next((each for each in KINDS if lexer.accept(each)), None)
        if kind is None:
            raise lexer.error(f"expected {', '.join(KINDS)}, found {self.found}")
        lexer.expect("(")
        first = self.dim()
        lexer.expect(",")
        second = self.dim()
        lexer.expect(")")
        self.definitions[name] = Definition(kind, first, second)

    # -- buffers

    def typed_name(self) -> tuple[str, TensorType]:
        name = self.name()
        self.lexer.expect(":")
        return name, self.tensor_type()

    def given(self) -> None:
        lexer = self.lexer
        start = lexer.peek.start
        name, type = self.typed_name()
        if not lexer.accept("of"):
            self._parameter(Given(name, type, self.name() if lexer.accept("for") else ""), start)
            return
        place = lexer.peek.start
        value = self.value()
        buffer = Given(name, type, "" if value.name in (None, name) else str(value.name))
        self._parameter(buffer, start)
        self._place(value, buffer, place)

    def _parameter(self, buffer: Given, start: int) -> None:
        self._add(buffer, start)
        self.parameters.append(buffer)

    def stored(self) -> None:
        lexer = self.lexer
        start = lexer.peek.start
        name, type = self.typed_name()
        lexer.expect("at")
        offset = self.integer("an offset in bytes")
        lexer.expect("of")
        self._add(Stored(name, type, self.value_name("@"), offset), start)

    def slot(self) -> None:
        lexer = self.lexer
        start = lexer.peek.start
        number = self.integer("the number of a slot")
        if number != len(self.slots):
            raise lexer.error(f"expected slot {len(self.slots)}, found slot {number}", start)
        lexer.expect(":")
        self.slots.append(self.dim())

    def temporary(self) -> None:
        lexer = self.lexer
        start = lexer.peek.start
        buffer = Temporary(*self.typed_name())
        self._add(buffer, start)
        if lexer.accept("in"):
            start = lexer.peek.start
            number = self.integer("the number of a slot")
            if number >= len(self.slots):
                raise lexer.error(f"there is no slot {number}", start)
            self.slot_of[buffer] = number

    def _add(self, buffer: Buffer, start: int) -> None:
        if buffer.name in self.buffers:
            raise self.lexer.error(f"there are two buffers named '{buffer.name}'", start)
        self.buffers[buffer.name] = buffer

    def buffer(self) -> Buffer:
        start = self.lexer.peek.start
        name = self.name()
        if name not in self.buffers:
            raise self.lexer.error(f"there is no buffer '{name}'", start)
        return self.buffers[name]

    # -- values

    def value(self) -> Value:
        value = self.values.get(self.lexer.peek.text)
        if value is None:
            raise self.lexer.error(f"expected a value of graph '{self.graph.name}', found {self.found}")
        self.lexer.next()
        return value

    def place(self) -> None:
        start = self.lexer.peek.start
        value = self.value()
        self.lexer.expect("in")
        self._place(value, self.buffer(), start)

    def _place(self, value: Value, buffer: Buffer, start: int) -> None:
        if value in self.placement:
            raise self.lexer.error(f"'{self.texts[value]}' is in '{self.placement[value].name}' already", start)
        self.placement[value] = buffer

    # -- launches

    def op(self) -> None:
        lexer = self.lexer
        start = lexer.peek.start
        op = self._graph_line()
        if op in self.stated:
            raise lexer.error(f"'{self.texts[op.results[0]]}' is computed twice", start)
        self.stated.add(op)
        if lexer.accept("in"):
            self._places(op)
        kernel, settings = self.kernel() if lexer.accept("by") else ("", ())
        stages: list[Stage] = []
        while (waits := lexer.accept("wait")) or lexer.peek.text == "stage":
            stages.append(self.stage(waits))
        if stages or not op.definition.view:
            self.launches.append(Launch(op, tuple(stages), kernel, settings))

    def _graph_line(self) -> Op:
        """The op whose line comes next, word for word as its graph has it."""
        lexer = self.lexer
        value = self.values.get(lexer.peek.text)
        if value is None or value.owner is None:
            raise lexer.error(f"no op of graph '{self.graph.name}' makes {self.found}")
        line = op_text(value.owner, self.texts)
        wanted = Lexer(line)
        while wanted.peek.kind != "end":
            if (lexer.peek.kind, lexer.peek.text) != (wanted.peek.kind, wanted.peek.text):
                raise lexer.error(f"expected {wanted.describe()}, found {self.found}; the graph's line is: {line}")
            lexer.next()
            wanted.next()
        return value.owner

    def _places(self, op: Op) -> None:
        for index, value in enumerate(op.results):
            if index:
                self.lexer.expect(",")
            start = self.lexer.peek.start
            if not self.lexer.accept("-"):
                self._place(value, self.buffer(), start)

    def kernel(self) -> tuple[str, tuple[tuple[str, int], ...]]:
        """The name of a kernel and the values of its choices."""
        lexer = self.lexer
        name, settings = self.name(), dict[str, int]()
        if lexer.accept("("):
            while not settings or lexer.accept(","):
                start = lexer.peek.start
                choice = lexer.expect_kind("name", "a choice")
                if choice in settings:
                    raise lexer.error(f"choice '{choice}' has two values", start)
                lexer.expect("=")
                settings[choice] = self.integer("the value of a choice")
            lexer.expect(")")
        return name, tuple(settings.items())

    def stage(self, waits: bool) -> Stage:
        lexer = self.lexer
        lexer.expect("stage")
        function = self.name()
        lexer.expect("(")
        accesses: list[Access] = []
        while not lexer.accept(")"):
            kind = next((each for each in ACCESSES if lexer.accept(each)), None)
            if kind is None:
                raise lexer.error(f"expected {', '.join(ACCESSES)} and a buffer, found {self.found}")
            accesses.append(Access(self.buffer(), *ACCESSES[kind]))
            if lexer.peek.text != ")":
                lexer.expect(",")
        sizes = self.sizes() if lexer.accept("sizes") else ()
        extent = None if lexer.accept("one") else (lexer.expect("over"), self.dim())[1]
        if extent is None:
            lexer.expect("thread")
        return Stage(function, extent, tuple(accesses), sizes, self.arms() if lexer.accept("in") else (), waits)

    def arms(self) -> tuple[tuple[int, int], ...]:
        found: list[tuple[int, int]] = []
        while not found or self.lexer.accept(","):
            self.lexer.expect("arm")
            arm = self.integer("the number of an arm")
            self.lexer.expect("of")
            self.lexer.expect("branch")
            found.append((self.integer("the number of a branch"), arm))
        return tuple(found)

    def sizes(self) -> tuple[tuple[Dim, DType], ...]:
        lexer = self.lexer
        lexer.expect("(")
        found: list[tuple[Dim, DType]] = []
        while not lexer.accept(")"):
            size = self.dim()
            lexer.expect(":")
            start = lexer.peek.start
            name = lexer.expect_kind("name", "an integer type")
            dtype = next((dtype for dtype in DType if dtype.value == name), None)
            if dtype is None or not dtype.is_integer:
                raise lexer.error(f"'{name}' is not an integer type", start)
            found.append((size, dtype))
            if lexer.peek.text != ")":
                lexer.expect(",")
        return tuple(found)
