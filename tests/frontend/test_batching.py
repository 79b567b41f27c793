"""A graph of one sequence is given a batch: each row of the result is what the graph gave for the row."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from graphwright.frontend import capture
from graphwright.frontend.batching import add_batch
from graphwright.frontend.logits import NoLogits
from graphwright.ir import (
    Builder,
    Dim,
    DType,
    Graph,
    StoredArray,
    TensorType,
    UnsupportedError,
    Value,
    Weight,
    ops,
    run,
)
from graphwright.ir.convention import LANGUAGE_MODEL_PROBLEM

S = Dim.of("S")
F32, I64 = DType.F32, DType.I64
CAUSAL = {"scale": 0.5, "mask": "causal"}


class Made:
    """What graphs are made of: x f32 [S, 6] and ids i64 [S], below 4; a table [4, 6], and positions [S]."""

    def __init__(self) -> None:
        self.graph = Graph()
        self.build = Builder(self.graph)
        self.x = self.graph.add_input("x", TensorType(F32, (S, Dim.of(6))))
        self.ids = self.graph.add_input("ids", TensorType(I64, (S,)))
        table = StoredArray.of(torch.randn(4, 6, generator=torch.Generator().manual_seed(1)))
        self.table = self.graph.weight(Weight("table", table))
        self.places = self.build(ops.iota, size=S, dtype=I64)

    def heads(self, x: Value, *shape: Dim | int) -> Value:
        return self.build(ops.reshape, x, shape=tuple(map(Dim.of, shape)))

    def mask(self) -> Value:
        """A bool [S, S] that depends on the ids."""
        return self.build(ops.le, self.heads(self.ids, 1, S), self.heads(self.ids, S, 1))


Make = Callable[[Made], Value]


def _attention(m: Made, bias: Value | None, first: int, second: int) -> Value:
    q = m.build(ops.transpose, m.heads(m.x, S, 2, 3), permutation=(1, 0, 2))
    q = m.heads(q, first, second, S, 3)
    k = m.build(ops.slice, q, axis=1, stop=1) if second > 1 else q
    return m.build(ops.attention, q, k, k, m.heads(m.places, 1, S), None, bias, **CAUSAL)


def _one_table_of_keys(m: Made) -> Value:
    """Keys that depend on no token."""
    keys = m.heads(m.table, 1, 1, 4, 6)
    q, positions = m.heads(m.x, 1, 1, S, 6), m.heads(m.places, 1, S)
    return m.build(ops.attention, q, keys, keys, positions, scale=1.0, mask="full")


def _element(m: Made) -> Value:
    """Of each column of the table the row that the first id says."""
    first = m.heads(m.build(ops.slice, m.ids, axis=0, stop=1), 1, 1)
    return m.build(ops.gather_elements, m.table, m.build(ops.expand, first, shape=(Dim.of(1), Dim.of(6))), axis=0)


MADE: dict[str, Make] = {
    "a shorter operand on the left": lambda m: m.build(ops.add, m.build(ops.mean, m.x, axes=(0,)), m.x),
    "broadcast over a longer one": lambda m: m.build(ops.mul, m.x, m.heads(m.table, 4, 1, 6)),
    "where": lambda m: m.build(ops.where, m.mask(), m.heads(m.places, S, 1), m.heads(m.places, 1, S)),
    "a product with a longer one": lambda m: m.build(
        ops.matmul, m.x, m.heads(m.build(ops.transpose, m.table, permutation=(1, 0)), 1, 6, 4)
    ),
    "a table on the left": lambda m: m.build(ops.matmul, m.table, m.build(ops.transpose, m.x, permutation=(1, 0))),
    "axes from the end": lambda m: m.build(ops.softmax, m.build(ops.cumsum, m.x, axis=-2), axis=-1),
    "a reduction to nothing": lambda m: m.build(ops.sum, m.x, axes=(0, 1)),
    "a reduction that keeps axes": lambda m: m.build(ops.amax, m.x, axes=(-1,), keepdims=True),
    "parts with and without": lambda m: m.build(ops.concat, m.x, m.table, m.x, axis=0),
    "part of it": lambda m: m.build(ops.slice, m.x, axis=0, start=S - 1),
    "the largest": lambda m: m.build.op(ops.topk, m.x, k=2, axis=1).results[1],
    "cut": lambda m: m.build.op(ops.split, m.x, axis=1, sizes=(2, 4)).results[1],
    "rows of a table": lambda m: m.build(ops.embedding, m.table, m.ids),
    "columns of a table": lambda m: m.build(
        ops.gather, m.build(ops.transpose, m.table, permutation=(1, 0)), m.ids, axis=1
    ),
    "of itself by a place": lambda m: m.build(ops.gather, m.x, m.places, axis=0),
    "of a table by element": _element,
    "written into zeros": lambda m: m.build(
        ops.scatter_elements,
        m.build.constant(0.0, F32, S, 4),
        m.heads(m.ids, S, 1),
        m.build.constant(1.0, F32, S, 1),
        axis=1,
    ),
    "of no input": lambda m: m.build(ops.cast, m.places, dtype=F32),
    "attention": lambda m: _attention(m, None, 1, 2),
    "attention of heads first": lambda m: _attention(m, None, 2, 1),
    "attention hidden by data": lambda m: _attention(m, m.mask(), 1, 2),
    "attention hidden by data, heads first": lambda m: _attention(m, m.heads(m.mask(), 1, 1, S, S), 2, 1),
    "attention with a bias a head": lambda m: _attention(m, m.build.constant(0.5, F32, 2, 1, S, S), 2, 1),
    "attention to a table": _one_table_of_keys,
    "convolution of a batch of one": lambda m: m.build(
        ops.convolution,
        m.heads(m.build(ops.transpose, m.x, permutation=(1, 0)), 1, 6, S),
        m.heads(m.table, 4, 6, 1),
        stride=(1,),
        padding=(0, 0),
        dilation=(1,),
    ),
    "convolution of a batch": lambda m: m.build(
        ops.convolution, m.heads(m.x, S, 1, 6), m.heads(m.table, 8, 1, 3), stride=(1,), padding=(1, 1), dilation=(1,)
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_each_row_is_what_it_was(name: str) -> None:
    def graph() -> Graph:
        made = Made()
        made.graph.outputs = {"y": MADE[name](made)}
        made.graph.erase_dead()
        return made.graph

    one, many = graph(), graph()
    add_batch(many)
    assert many.outputs["y"].type.shape == (Dim.of("B"), *one.outputs["y"].type.shape)
    for batch, length in ((3, 5), (1, 1), (2, 4)):
        given = {"x": torch.randn(batch, length, 6), "ids": torch.randint(0, 4, (batch, length))}
        expected = torch.stack([run(one, {n: v[i] for n, v in given.items()})["y"] for i in range(batch)])
        torch.testing.assert_close(run(many, given)["y"], expected)


REFUSED: dict[str, tuple[Make, str]] = {
    "a table made of tokens": (lambda m: m.build(ops.embedding, m.x, m.ids), "embedding at some.module"),
    "tokens picked by tokens": (lambda m: m.build(ops.gather, m.x, m.ids, axis=0), "gather at some.module"),
    "a weight made of tokens": (lambda m: m.build(ops.linear, m.x, m.x), "linear at some.module"),
    "a kernel made of tokens": (
        lambda m: m.build(
            ops.convolution,
            m.heads(m.table, 1, 6, 4),
            m.heads(m.x, S, 6, 1),
            stride=(1,),
            padding=(0, 0),
            dilation=(1,),
        ),
        "convolution at some.module",
    ),
    "places made of tokens": (
        lambda m: m.build(
            ops.attention, *[m.heads(m.x, 1, 1, S, 6)] * 3, m.heads(m.ids, 1, S), scale=1.0, mask="causal"
        ),
        "attention at some.module",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_take_a_batch_is_refused_by_name(name: str) -> None:
    make, named = REFUSED[name]
    made = Made()
    made.build.location = "some.module"
    made.graph.outputs = {"y": make(made)}
    with pytest.raises(UnsupportedError, match=f"token ids have no batch, and {named} cannot be given one"):
        add_batch(made.graph)


Answer = Callable[[Tensor, Tensor, Tensor], object]


class OneSequence(nn.Module):
    """Token ids [S] to `answer(embedded, logits, ids)`."""

    def __init__(self, answer: Answer, columns: int = 12) -> None:
        super().__init__()
        self.embed, self.head = nn.Embedding(12, 8), nn.Linear(8, columns)
        self.answer = answer

    def forward(self, ids: Tensor) -> object:
        x = self.embed(ids)
        _, _ = x.shape
        return self.answer(x, self.head(x), ids)


IDS = torch.zeros(5, dtype=torch.int64)


REFUSED_ANSWERS: list[tuple[Answer, str]] = [
    (lambda x, y, ids: y[ids], r"no batch, and gather cannot be given one: take ids .*test_batching\.py:\d+"),
    (lambda x, y, ids: (y, 2 * y), "several of its outputs may be the logits"),
    (lambda x, y, ids: y.mean(0), "mean cannot be lifted to all tokens"),
    (lambda x, y, ids: y[: len(ids)], r"fixes the sequence length \(axis 0 of 'input_ids'\) to 5 at .*test_batching"),
    (lambda x, y, ids: 2 * y if len(y) == 3 else y, "fixes the sequence length"),
    (lambda x, y, ids: 2 * y if ids.shape[0] == 3 else y, "computes something else at a sequence of 3"),
]


@pytest.mark.parametrize(("answer", "problem"), REFUSED_ANSWERS)
def test_refusals(answer: Answer, problem: str) -> None:
    with pytest.raises(UnsupportedError, match=problem) as caught:
        capture(OneSequence(answer), IDS)
    assert "\n" not in str(caught.value)


def test_integers_of_one_axis_that_are_no_tokens_stay_a_plain_function() -> None:
    """Nothing tells that they are a sequence: each may be the class of a row."""
    program = capture(OneSequence(lambda x, y, ids: x), IDS)
    graph = program.graphs["forward"]
    assert {v.name: str(v.type) for v in graph.inputs} == {"ids": "i64[B]"}
    assert {name: str(v.type) for name, v in graph.outputs.items()} == {"output": "f32[B, 8]"}
    assert LANGUAGE_MODEL_PROBLEM not in program.metadata
    with pytest.raises(NoLogits, match=r"of a sequence of token ids \[S\] it returns output: f32\[B, S, 8\]"):
        capture(OneSequence(lambda x, y, ids: x))


def test_a_function_of_one_sequence_has_its_own_shapes() -> None:
    graph = capture(OneSequence(lambda x, y, ids: y), IDS, function=True).graphs["forward"]
    assert [str(v.type) for v in (*graph.inputs, *graph.outputs.values())] == ["i64[B]", "f32[B, 12]"]


def test_logits_that_are_named() -> None:
    module = OneSequence(lambda x, y, ids: (x, 3 * y), columns=9).eval()
    graph = capture(module, IDS.int(), logits="output.1").graphs["forward"]
    ids = torch.randint(0, 12, (2, 4))
    expected = torch.stack([3 * module.head(module.embed(row)) for row in ids])
    torch.testing.assert_close(run(graph, {"input_ids": ids})["logits"], expected)


def test_an_error_of_the_modules_own_is_told() -> None:
    """Where neither a batch nor one sequence can be traced, it is the error with a batch."""
    with pytest.raises(UnsupportedError, match=r"ValueError: too many values to unpack.*test_batching\.py"):
        capture(OneSequence(lambda x, y, ids: y + torch.ones(3, 4, 5)))
