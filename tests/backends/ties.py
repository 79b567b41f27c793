"""Which codes a compiled model took where float32 cannot tell: the reference, told them, must agree everywhere else.

Two ways of computing x differ by roundoffs. Where x lies as near to the middle between two codes, a tie, each may
round it to another, and what follows is off by a whole step. Which ties a compiled model took the other way is found
from its logits: the interpreter runs again with other codes for ties that it met, until all logits are as near as those
of a float model. What is a tie is computed from the reference alone, so no code is allowed that a correct model could
not have taken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphwright.ir import DType, Graph, Op, ops
from graphwright.ir.dims import Dim
from graphwright.ir.interpreter import Interpreter
from graphwright.ir.rounding import Grid, fit, grouped, ungrouped
from graphwright.ir.types import QuantizedType
from tests.backends.running import ROUNDOFF, SLACK, close_enough, empty_caches, prefill_inputs
from tests.tensors import listed

TOGETHER = 3
"""So many ties of one token may have gone the other way. One in a hundred tokens of these models has one that did."""

KEPT = 8
"""How many combinations of ties, those that come nearest, get one tie more."""


@dataclass(frozen=True)
class Tie:
    """An element of what an op rounds, without the batch axis, and the code that it may have as well as that which it
    has. `apart` is its distance from the middle between both, in units of the scale, and `bound` that of a tie."""

    op: Op
    element: tuple[int, ...]
    code: float
    token: int = field(compare=False)
    apart: float = field(compare=False)
    bound: float = field(compare=False)


@dataclass(frozen=True)
class World:
    """A row of the reference in which some ties are turned: its outputs by name, with a batch axis of length 1, and the
    further ties that it met."""

    turned: frozenset[Tie]
    outputs: dict[str, Tensor]
    ties: frozenset[Tie]

    def distance(self, logits: np.ndarray[Any, Any]) -> list[float]:
        """Of logits [S, V] of each token, where 1 is all that is allowed."""
        expected = self.outputs["logits"][0].numpy()
        return [float(np.abs(g - e).max()) / close_enough(e) for g, e in zip(logits, expected, strict=True)]

    def agreeing(self, logits: np.ndarray[Any, Any]) -> int:
        """How many tokens are near enough before the first that is not."""
        distance = self.distance(logits)
        return next((token for token, apart in enumerate(distance) if not apart <= 1), len(distance))


def follow(graph: Graph, ids: Sequence[int], logits: np.ndarray[Any, Any]) -> World:
    """A row of token ids, read from an empty cache, in which ties are turned so that all logits [S, V] agree.

    Fails if they do not, with the token and how far it is off.
    """
    interpreter = Turning(graph)
    (world,) = interpreter.run_worlds([frozenset()], ids)
    while (token := world.agreeing(logits)) < len(ids):
        tried = [world]
        for _ in range(TOGETHER):
            more = {each.turned | {tie} for each in tried for tie in each.ties if tie.token <= token}
            worlds = interpreter.run_worlds(list(more), ids) if more else []
            worlds.sort(key=lambda each: (-each.agreeing(logits), each.distance(logits)[token]))
            tried = worlds[:KEPT]
            if not tried or tried[0].agreeing(logits) > token:
                break
        off = world.distance(logits)[token] * SLACK
        found = max((each.agreeing(logits) for each in tried), default=0)
        assert found > token, f"token {token} is off by {off:.0f} roundoffs, and no tie explains it"
        world = tried[0]
    return world


class Turning(Interpreter):
    """An interpreter that runs worlds of one row as the rows of a batch."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph
        self._tokens = [graph.input(name).type.shape[1] for name in ("input_ids", "logit_positions")]
        self._turned: list[dict[tuple[Op, tuple[int, ...]], float]] = []
        self._ties: list[set[Tie]] = []

    def run_worlds(self, turned: Sequence[frozenset[Tie]], ids: Sequence[int]) -> list[World]:
        """The row with these ties turned, a world each."""
        count, length = len(turned), len(ids)
        self._turned = [{(tie.op, tie.element): tie.code for tie in each} for each in turned]
        self._ties = [set() for _ in turned]
        rows = np.tile(np.asarray(ids, np.int64), (count, 1))
        given = prefill_inputs(rows, np.zeros(count, np.int64), np.full(count, length))
        inputs = {name: torch.as_tensor(value) for name, value in given.items()}
        out = self.run(self.graph, {**inputs, **empty_caches(self.graph, count, length)})
        return [
            World(each, {name: value[i : i + 1] for name, value in out.items()}, frozenset(self._ties[i]))
            for i, each in enumerate(turned)
        ]

    def run_op(self, op: Op, operands: Sequence[Tensor | None], bindings: Mapping[str, int]) -> list[Tensor]:
        results = super().run_op(op, operands, bindings)
        if op.definition in (ops.fake_quantize, ops.quantize_tensor):
            assert operands[0] is not None
            self._turn(op, operands[0], operands[1], results[0])
        return results

    def _turn(self, op: Op, x: Tensor, scale: Tensor | None, result: Tensor) -> None:
        """Gives turned ties their codes, and notes the others."""
        to = op.attributes["to"]
        assert isinstance(to, DType)
        token_axis = next(i for i, dim in enumerate(op.result.type.shape) if i and dim in self._tokens)
        scale = _own_scale(x, op.attributes["group"], to) if scale is None else scale.expand_as(x)
        units, code = x / scale, Grid(to).nearest
        # x may be as far off as logits, for the same reasons. A scale that is the largest of x moves all as much again.
        largest = x.abs().amax([i for i in range(1, x.dim()) if i != token_axis], keepdim=True)
        bound = 2 * SLACK * ROUNDOFF * largest / scale
        lower, upper = code(units - bound), code(units + bound)
        other = torch.where(code(units) == lower, upper, lower)
        doubtful: list[list[int]] = listed((lower != upper).nonzero())
        for world, *element in doubtful:
            at = (world, *element)
            turned = self._turned[world].get((op, tuple(element)))
            if turned is None:
                apart = abs(float(units[at]) - float(lower[at] + upper[at]) / 2)
                token = element[token_axis - 1]
                self._ties[world].add(Tie(op, tuple(element), float(other[at]), token, apart, float(bound[at])))
            else:
                result[at] = turned if op.definition is ops.quantize_tensor else turned * scale[at]


def _own_scale(x: Tensor, group: object, to: DType) -> Tensor:
    """What `fake_quantize` divides each element of x by, where no scale is given."""
    assert isinstance(group, int)
    groups = grouped(x, group or None)
    type = QuantizedType(to, tuple(map(Dim.of, x.shape)), group or None)
    return ungrouped(fit(groups, type, "absmax").effective.expand_as(groups), x.shape[-1])
