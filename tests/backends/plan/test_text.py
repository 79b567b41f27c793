"""The text of plans: an exact round trip, and one good line for what is none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphwright.backends.plan import (
    Access,
    Buffer,
    Definition,
    Given,
    Launch,
    Plan,
    Stage,
    Stored,
    Temporary,
    parse_plan,
    parse_plans,
    print_plan,
    print_plans,
    with_slots,
)
from graphwright.ir import Dim, DType, Graph, Op, TensorType, TextError, parse_program
from graphwright.ir.text.printer import value_names
from tests.backends.plan.making import graph, plan_of, whole_plan
from tests.ir.strategies import DTYPES, NAMES

PROGRAM = """program "p"
weight @gain : f32[4] = data([1.0, 2.0, 3.0, 4.0]) : f32[4]
graph forward(%x: f32[B, 4], %past.0.state: state<contiguous f32[B, 1, C, 4]>, %past_length: i64[B]) {
  %0 = mul(%x, @gain) : f32[B, 4]  at model.norm
  %1 = reshape(%0) {shape=[B, 1, 1, 4]} : f32[B, 1, 1, 4]
  %2 = kv_append(%past.0.state, %1, %past_length) : state<contiguous f32[B, 1, C, 4]>
  %3, %4 = split(%0) {axis=1, sizes=[1, 3]} : f32[B, 1], f32[B, 3]
  %5 = exp(%4) : f32[B, 3]  at "odd place"
  return y=%5, present.0.state=%2
}
"""
TEXT = """\
plan forward(B, C) {
  define blocks = floordiv(B+7, 8)
  define few = min(blocks, C)
  given x : f32[B, 4] of %x
  given past.0.state : f32[B, 1, C, 4] of %past.0.state
  given past_length : i64[B] of %past_length
  given y : f32[B, 3]
  stored "gain, packed" : f32[4] at 128 of @gain
  slot 0 : 16*B
  slot 1 : 4*blocks
  temporary t0 : f32[B, 4] in 0
  temporary partial : f32[blocks] in 1

  %0 = mul(%x, @gain) : f32[B, 4]  at model.norm
    in t0
    stage mul_0(r x, r "gain, packed", w t0) sizes(B: i64, 2*B-1: i32) over blocks
  %1 = reshape(%0) {shape=[B, 1, 1, 4]} : f32[B, 1, 1, 4]
    in t0
  %2 = kv_append(%past.0.state, %1, %past_length) : state<contiguous f32[B, 1, C, 4]>
    in past.0.state
    wait
    stage kv_append_0(r t0, - past_length, w partial) over blocks
    wait
    stage kv_append_1(rw partial, r past_length, rw past.0.state) one thread
  %3, %4 = split(%0) {axis=1, sizes=[1, 3]} : f32[B, 1], f32[B, 3]
    in -, y
    stage split_0(r t0, w y) over B
  %5 = exp(%4) : f32[B, 3]  at "odd place"
    by pointwise(vectors=4, tile=16)
    stage exp_0() sizes(few: i64) over 16 in arm 1 of branch 0, arm 0 of branch 2
    stage exp_1() one thread in arm 0 of branch 0
}
"""


def test_a_plan_is_printed_as_it_is_written() -> None:
    program = parse_program(PROGRAM)
    plan = parse_plan(TEXT, program)
    assert print_plan(plan) == TEXT
    assert plan.graph is program.graphs["forward"]
    assert plan.definitions["few"] == Definition("min", Dim.of("blocks"), Dim.of("C"))
    stored = plan.launches[0].stages[0].accesses[1].buffer
    assert isinstance(stored, Stored)
    assert (stored.name, stored.weight, stored.offset, str(stored.type)) == ("gain, packed", "gain", 128, "f32[4]")
    append = plan.launches[1]
    assert append.op.name == "kv_append"
    assert [stage.waits for stage in append.stages] == [True, True]
    assert [stage.extent for stage in append.stages] == [Dim.of("blocks"), None]
    assert [(a.buffer.name, a.reads, a.writes) for a in append.stages[1].accesses] == [
        ("partial", True, True),
        ("past_length", True, False),
        ("past.0.state", True, True),
    ]
    assert plan.launches[0].stages[0].sizes == ((Dim.of("B"), DType.I64), (Dim.of("B") * 2 - 1, DType.I32))
    assert [stage.arms for stage in plan.launches[-1].stages] == [((0, 1), (2, 0)), ((0, 0),)]
    assert plan.slots == (Dim.of("B") * 16, Dim.of("blocks") * 4)
    assert plan.slot_offsets({"B": 9, "C": 1}) == [0, 192, 256]


def test_a_file_has_plans_of_several_graphs_and_says_how_to_read_them() -> None:
    program = parse_program(PROGRAM + PROGRAM[PROGRAM.index("graph") :].replace("forward", '"a b"'))
    plans = [whole_plan(g) for g in program.graphs.values()]
    text = print_plans(plans)
    assert text.startswith("// ")
    again = parse_plans(text, program)
    assert [plan.graph for plan in again] == list(program.graphs.values())
    assert print_plans(again) == text
    assert parse_plans("", program) == []
    with pytest.raises(TextError, match="1:1: expected 'plan', found the end"):
        parse_plan("", program)
    with pytest.raises(TextError, match="there are two plans of graph 'forward'"):
        parse_plans(print_plan(plans[0]) * 2, program)
    with pytest.raises(TextError, match="expected the end, found 'plan'"):
        parse_plan(print_plan(plans[0]) * 2, program)
    with pytest.raises(TextError, match=r"there is no graph 'a b', there are forward"):
        parse_plan(print_plan(plans[1]), program.graphs["forward"])


def test_a_plan_without_slots_is_read_as_one() -> None:
    program = parse_program(PROGRAM)
    plan = plan_of(program.graphs["forward"])
    again = parse_plan(print_plan(plan), program)
    assert again.slot_of is None
    assert print_plan(with_slots(again)) == print_plan(with_slots(plan))


# -- random plans


GRAPHS = (
    *parse_program(PROGRAM).graphs.values(),
    graph('%"": f32[S], %0: i64[]', '%1 = exp(%"") : f32[S]  at "a\\nb"', outputs='"%"=%1', name='"in"'),
    graph("", "%0 = dim_value() {value=3} : i64[]", outputs="place=%0", name="wait"),
)


@st.composite
def _plans(draw: st.DrawFn) -> Plan:
    """A plan of anything: it need not make sense, but be all in the text."""
    chosen = draw(st.sampled_from(GRAPHS))
    symbols = [*sorted(chosen.symbols)]
    definitions: dict[str, Definition] = {}

    def size() -> Dim:
        total = Dim.of(draw(st.integers(0, 5)))
        for symbol in draw(st.lists(st.sampled_from(symbols), max_size=2)) if symbols else ():
            total = total + Dim.of(symbol) * draw(st.integers(-2, 9))
        return total

    for name in ("q", "q1")[: draw(st.integers(0, 2))]:
        kind = draw(st.sampled_from(("floordiv", "min", "max")))
        definitions[name] = Definition(kind, size(), size())
        symbols.append(name)
    types = [TensorType(draw(DTYPES), tuple(size() for _ in range(draw(st.integers(0, 2))))) for _ in range(3)]
    names = draw(st.lists(NAMES, max_size=7, unique=True))
    buffers: list[Buffer] = []
    for name in names:
        type = draw(st.sampled_from(types))
        kind = draw(st.integers(0, 2))
        stored = Stored(name, type, draw(NAMES), draw(st.integers(0, 1 << 40)))
        buffers.append(Given(name, type) if kind == 0 else stored if kind == 1 else Temporary(name, type))
    values = [value for value in value_names(chosen) if value.weight is None]
    placed = {v: draw(st.sampled_from(buffers)) for v in values if buffers and draw(st.booleans())}
    slots = [size() for _ in range(draw(st.integers(1, 3)))]

    def stage() -> Stage:
        taken = draw(st.lists(st.sampled_from(buffers), max_size=3)) if buffers else []
        accesses = tuple(Access(buffer, draw(st.booleans()), draw(st.booleans())) for buffer in taken)
        sizes = tuple((size(), draw(st.sampled_from((DType.I32, DType.I64)))) for _ in range(draw(st.integers(0, 2))))
        extent = size() if draw(st.booleans()) else None
        arms = tuple(draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), max_size=2)))
        return Stage(draw(NAMES), extent, accesses, sizes, arms, draw(st.booleans()))

    def launch(op: Op) -> Launch:
        stages = tuple(stage() for _ in range(draw(st.integers(1, 2))))
        kernel = draw(st.one_of(st.just(""), NAMES))
        choices = draw(st.dictionaries(st.sampled_from(("streams", "tile")), st.integers(0, 512))) if kernel else {}
        return Launch(op, stages, kernel, tuple(choices.items()))

    launches = [launch(op) for op in chosen if not op.definition.view and draw(st.integers(0, 9))]
    temporaries = [b for b in buffers if isinstance(b, Temporary)]
    slot_of: dict[Buffer, int] = {b: draw(st.integers(0, len(slots) - 1)) for b in temporaries}
    given = tuple(b for b in buffers if isinstance(b, Given))
    planned = draw(st.booleans()) or not slot_of
    return Plan(
        chosen,
        definitions,
        given,
        placed,
        tuple(draw(st.permutations(launches))),
        tuple(slots) if planned else (),
        slot_of if planned else None,
    )


def _facts(plan: Plan) -> object:
    """All that a plan says, with names in the place of buffers."""
    buffers = {
        *plan.buffers,
        *plan.placement.values(),
        *(plan.slot_of or ()),
    }
    return (
        plan.graph,
        dict(plan.definitions),
        [given.name for given in plan.parameters],
        {b.name: (type(b), b.type, (b.weight, b.offset) if isinstance(b, Stored) else None) for b in buffers},
        {value: buffer.name for value, buffer in plan.placement.items()},
        [
            (
                launch.op,
                launch.kernel,
                launch.settings,
                [
                    (
                        s.function,
                        s.extent,
                        [(a.buffer.name, a.reads, a.writes) for a in s.accesses],
                        s.sizes,
                        s.arms,
                        s.waits,
                    )
                    for s in launch.stages
                ],
            )
            for launch in plan.launches
        ],
        plan.slots,
        {buffer.name: slot for buffer, slot in plan.slot_of.items()} if plan.slot_of else None,
    )


@settings(max_examples=60, deadline=None)
@given(_plans())
def test_printing_and_parsing_are_inverse(plan: Plan) -> None:
    text = print_plan(plan)
    again = parse_plan(text, plan.graph)
    assert print_plan(again) == text
    assert _facts(again) == _facts(plan)


# -- broken texts


def changed(old: str, new: str) -> str:
    assert TEXT.count(old) >= 1, old
    return TEXT.replace(old, new, 1)


CASES = [
    ("plan backward(B, C) {", "1:6: there is no graph 'backward', there are forward"),
    (changed("(B, C)", "(B)"), "1:13: the symbols of graph 'forward' are (B, C)"),
    (changed("blocks = floordiv(", "blocks = ceildiv("), "2:19: expected floordiv, min, max, found 'ceildiv'"),
    (changed("define blocks", "define B"), "2:10: 'B' cannot be defined: it is known, or no symbol"),
    (changed("B+7, 8", "blocks+7, 8"), "2:28: 'blocks' is not a symbol of the graph and is not defined before"),
    (changed("f32[B, 4] of %x", "f32[B, D] of %x"), "4:20: 'D' is not a symbol of the graph"),
    (changed("given y", "given x"), "7:9: there are two buffers named 'x'"),
    (changed("of %past_length", "of %x"), "6:33: '%x' is in 'x' already"),
    (changed("of %past_length", "of %z"), "6:33: expected a value of graph 'forward', found '%z'"),
    (changed("at 128", "at far"), "8:37: expected an offset in bytes, found 'far'"),
    (changed("at 128", "at " + "9" * 500), "8:37: integer 99999999999999999999… has 500 digits"),
    (changed("slot 1", "slot 2"), "10:8: expected slot 1, found slot 2"),
    (changed("in 1", "in 7"), "12:38: there is no slot 7"),
    (
        changed("%0 = mul(%x, @gain)", "%0 = mul(%x, %x)"),
        "14:16: expected '@gain', found '%x'; the graph's line is: %0",
    ),
    (changed("  at model.norm", ""), "15:5: expected 'at', found 'in'; the graph's line is: %0 = mul(%x, @gain) : f32"),
    (changed("%0 = mul(%x, @gain)", "%9 = mul(%x, @gain)"), "14:3: no op of graph 'forward' makes '%9'"),
    (changed("%0 = mul(%x, @gain)", "%x = mul(%x, @gain)"), "14:3: no op of graph 'forward' makes '%x'"),
    (changed("%3, %4 = split", "%4 = split"), "25:3: expected '%3', found '%4'; the graph's line is: %3, %4 = split"),
    (
        changed("%5 = exp(%4)", "%0 = mul(%x, @gain) : f32[B, 4]  at model.norm\n  %5 = exp(%4)"),
        "'%0' is computed twice",
    ),
    (changed("in t0", "in t1"), "15:8: there is no buffer 't1'"),
    (changed("in -, y", "in y"), "27:5: expected ',', found 'stage'"),
    (changed("r x, r", "reads x, r"), "16:17: expected r, w, rw, - and a buffer, found 'reads'"),
    (changed("2*B-1: i32", "2*B-1: f32"), "16:67: 'f32' is not an integer type"),
    (changed("over blocks", "over all"), "16:77: 'all' is not a symbol of the graph"),
    (changed("one thread", "one"), "25:3: expected 'thread', found '%3'"),
    (changed("one thread", ""), "25:3: expected 'over', found '%3'"),
    (
        changed("wait\n    stage kv_append_0", "wait\n    wait\n    stage kv_append_0"),
        "22:5: expected 'stage', found 'wait'",
    ),
    (
        changed("slot 0", "slots 0"),
        "9:3: expected the line of an op, define, given, stored, slot, temporary, place or '}'",
    ),
    (changed("by pointwise", "by (x"), "29:8: expected a name, found '('"),
    (changed("vectors=4", ""), "29:18: expected a choice, found ','"),
    (changed("vectors=4", "tile=4"), "29:26: choice 'tile' has two values"),
    (changed("vectors=4", "vectors=four"), "29:26: expected the value of a choice, found 'four'"),
    (changed("in arm 1", "in 1"), "30:46: expected 'arm', found '1'"),
    (changed("arm 0 of branch 2", "arm 0"), "31:5: expected 'of', found 'stage'"),
    (TEXT[:-2], "32:1: expected the line of an op"),
]


@pytest.mark.parametrize(("text", "problem"), CASES)
def test_the_message_says_where_and_what(text: str, problem: str) -> None:
    with pytest.raises(TextError) as caught:
        parse_plan(text, parse_program(PROGRAM), "plan.txt")
    message = str(caught.value)
    assert problem in message
    assert message.startswith(f"plan.txt:{caught.value.line}:{caught.value.column}: ")
    assert message.isprintable()


PIECES = [*'%()[]{}<>=:,-*@"\n', " %x ", " @w ", " f32 ", " r ", " in ", " wait ", " stage ", " 1 ", " blocks "]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_damaged_text_is_refused_or_read_and_never_crashes(data: st.DataObject) -> None:
    text = TEXT
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.sampled_from(["", *PIECES]) | st.text(max_size=3)) + text[end:]
    program = parse_program(PROGRAM)
    try:
        plan = parse_plan(text, program)
    except TextError as problem:
        assert str(problem).isprintable()  # noqa: PT017 - either outcome is right
    else:
        assert print_plan(parse_plan(print_plan(plan), program)) == print_plan(plan)


def test_weird_names_are_quoted() -> None:
    g: Graph = graph("%x: f32[S]", "%0 = exp(%x) : f32[S]", "%1 = exp(%0) : f32[S]", outputs='"o p"=%1', name='"g g"')
    plan = plan_of(g, {next(iter(g)).result: "a\nb"})
    text = print_plan(plan)
    assert 'plan "g g"(S)' in text
    assert 'given "o p"' in text
    assert 'temporary "a\\nb"' in text
    assert print_plan(parse_plan(text, g)) == text
