"""Random dimensions, types, names and programs for property tests."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import strategies as st

from graphwright.ir import Builder, Dim, DType, Graph, Program, QuantizedType, StateType, StoredArray, TensorType, Value
from graphwright.ir import ops as o
from graphwright.ir.attributes import Attribute
from graphwright.ir.types import CODE_TYPES, SCALE_TYPES
from graphwright.ir.weights import Applied, StoredFile

SYMBOLS = ("B", "S", "P", "head_size")
NAMES = st.one_of(st.from_regex(r"[A-Za-z_][A-Za-z0-9_.]{0,8}", fullmatch=True), st.text(st.characters(codec="utf-8")))
DTYPES = st.sampled_from(list(DType))


@st.composite
def dims(draw: st.DrawFn) -> Dim:
    """A polynomial of low degree with small coefficients."""
    total = Dim.of(draw(st.integers(-5, 5)))
    for _ in range(draw(st.integers(0, 3))):
        term = Dim.of(draw(st.integers(-4, 4)))
        for symbol in draw(st.lists(st.sampled_from(SYMBOLS), max_size=3)):
            term = term * Dim.of(symbol)
        total = total + term
    return total


SIZES = st.one_of(st.integers(0, 5000).map(Dim.of), st.sampled_from(SYMBOLS).map(Dim.of), dims())
TENSORS = st.builds(TensorType, DTYPES, st.lists(SIZES, max_size=4).map(tuple))
QUANTIZED = st.builds(
    QuantizedType,
    st.sampled_from(sorted(CODE_TYPES, key=str)),
    st.lists(st.integers(1, 300).map(Dim.of), min_size=1, max_size=3).map(tuple),
    st.one_of(st.none(), st.integers(1, 256)),
    st.sampled_from(sorted(SCALE_TYPES, key=str)),
    st.integers(-2, 2),
    st.booleans(),
    st.booleans(),
).filter(lambda type: type.problem is None)
STATES = st.builds(StateType, st.sampled_from(["contiguous", "ring", "paged"]), TENSORS)
TYPES = st.one_of(TENSORS, QUANTIZED, STATES)

FLOATS = st.one_of(st.floats(), st.sampled_from([5e-324, -0.0, 1e300, 1.1754943508222875e-38]))
ATTRIBUTES: st.SearchStrategy[Attribute] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), FLOATS, st.text(st.characters(codec="utf-8")), DTYPES, dims()),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=6,
)

_UNARY = [o.neg, o.abs, o.sigmoid, o.tanh, o.sin, o.cos]
_BINARY = [o.add, o.sub, o.mul, o.maximum, o.minimum]


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A well-typed program of float32 ops on [B, S, 4] with weird names, several results and optional operands."""
    program = Program(draw(NAMES))
    program.metadata = draw(st.dictionaries(NAMES, ATTRIBUTES, max_size=3))
    names = draw(st.lists(NAMES, min_size=3, max_size=3, unique=True))
    for name in names[: draw(st.integers(1, 2))]:
        program.add_graph(_graph(draw, program, name))
    return program


def _graph(draw: st.DrawFn, program: Program, name: str) -> Graph:
    graph = Graph(name)
    type = TensorType(DType.F32, (Dim.of("B"), Dim.of("S"), Dim.of(4)))
    values = [graph.add_input(n, type) for n in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))]
    for _ in range(draw(st.integers(0, 12))):
        values.append(_op(draw, program, graph, values))
    for output in draw(st.lists(NAMES, min_size=1, max_size=3, unique=True)):
        graph.outputs[output] = draw(st.sampled_from(values))
    return graph


def _op(draw: st.DrawFn, program: Program, graph: Graph, values: list[Value]) -> Value:
    build = Builder(graph, location=draw(st.one_of(st.just(""), NAMES)))

    def pick() -> Value:
        return draw(st.sampled_from(values))

    match draw(st.integers(0, 7)):
        case 0:
            return build(draw(st.sampled_from(_UNARY)), pick())
        case 1:
            return build(draw(st.sampled_from(_BINARY)), pick(), pick())
        case 2:
            return build(draw(st.sampled_from(_BINARY)), pick(), build.constant(draw(FLOATS), DType.F32))
        case 3:
            return build(
                o.rms_norm, pick(), graph.weight(program.add_weight(draw(NAMES), array(draw, 4))), epsilon=1e-5
            )
        case 4:
            bias = graph.weight(program.add_weight(draw(NAMES), array(draw, 4))) if draw(st.booleans()) else None
            return build(o.layer_norm, pick(), None, bias, epsilon=draw(FLOATS))
        case 5:
            left, right = build.op(o.split, pick(), axis=2, sizes=(1, 3)).results
            return build(o.concat, right, left, axis=-1)
        case 6:
            half = build(o.cast, pick(), dtype=DType.BF16)
            return build(o.cast, half, dtype=DType.F32)
        case _:
            moved = Applied.of(o.transpose, (array(draw, 4, 4),), {"permutation": (1, 0)})
            return build(o.linear, pick(), graph.weight(program.add_weight(draw(NAMES), moved)))


def array(draw: st.DrawFn, *shape: int) -> Any:
    """Numbers in memory, bit for bit, or a file that nobody opens."""
    if draw(st.booleans()):
        sizes = tuple(Dim.of(n) for n in shape)
        return StoredFile(draw(NAMES), draw(NAMES), TensorType(DType.F32, sizes))
    size = torch.Size(shape).numel()
    numbers = draw(st.lists(st.floats(width=32), min_size=size, max_size=size))
    return StoredArray.of(torch.tensor(numbers, dtype=torch.float32).reshape(shape))
