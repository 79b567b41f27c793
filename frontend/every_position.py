"""Logits of the last token alone, lifted to logits of every token.

A model may choose the last token before its head, or even before its final norm, and answer for it alone. What it does
from there on treats each row of the batch by itself, so it does the same to every token if the tokens are rows: B*S
rows of one token in place of B rows. That is how each op is lifted; where the op itself takes tokens beside the batch
([B, S, …] for [B, 1, …] or [B, …]), it is given them so, and the folding is left out.
"""

from collections.abc import Callable

import torch

from graphwright.ir import Builder, Dim, Graph, Op, UnsupportedError, Value, ops
from graphwright.ir.attributes import Attribute, dimensions, substitute
from graphwright.ir.convention import BATCH, SEQUENCE
from graphwright.ir.errors import IRTypeError
from graphwright.ir.interpreter import Interpreter, cone
from graphwright.ir.location import at_source

B, S = Dim.of(BATCH), Dim.of(SEQUENCE)
SIZES = ((1, 1), (2, 3), (3, 2), (2, 7))
"""Batches and lengths at which an index is asked which token it picks."""


def every_position(graph: Graph, answer: Value) -> Value:
    """Of logits [B, V] of the last token (axes of one element aside) those of all: [B, S, V].

    Raises `UnsupportedError` where the last token is not all that the answer is made of, or rows of the batch meet.
    """
    return _Lift(graph, answer).run()


class _Lift:
    def __init__(self, graph: Graph, answer: Value) -> None:
        self.graph, self.answer = graph, answer
        self.build = Builder(graph)
        self.data = _depends_on(graph, graph.inputs)
        self.lifted: dict[Value, Value] = {}
        """[B, S, …] for values [B, …] and [B, 1, …] that are made of the last token."""
        self.kept: dict[Value, bool] = {}
        """Whether such a value has an axis of one element for the token, after the batch."""
        self.rows: dict[Value, Value] = {}
        """Values that depend on no token, for B*S rows in place of B."""

    def run(self) -> Value:
        for op in cone([self.answer]):
            if not self.data(op.results[0]) or SEQUENCE in _symbols(op.results[0]):
                continue
            self.build.location = op.location
            over = [v for v in op.inputs if SEQUENCE in _symbols(v) and self.data(v)]
            if not any(v in self.lifted for v in op.inputs):
                self._place(op.results[0], self._all_tokens(op, over))
            elif over:
                raise _refusal(op, "it relates the last token to others")
            else:
                self._lift(op)
        return self.build(ops.reshape, self.lifted[self.answer], shape=(B, S, _vocabulary(self.answer)))

    def _place(self, value: Value, lifted: Value, kept: bool | None = None) -> None:
        self.kept[value] = _may_keep(value) if kept is None else kept
        wanted = self._wanted(value)
        self.lifted[value] = lifted if lifted.type.shape == wanted else self.build(ops.reshape, lifted, shape=wanted)

    def _wanted(self, value: Value) -> tuple[Dim, ...]:
        """The shape for all tokens, in the row-major order of the batch, the tokens, and the rest."""
        batch = _batch(value)
        assert batch is not None, f"{value} has rows"
        return (B, S, *value.type.shape[batch + 1 + self.kept[value] :])

    # -- the choice of the last token

    def _all_tokens(self, op: Op, over: list[Value]) -> Value:
        """What an op that picks the last token picks it from: [B, S, …]."""
        if len(over) != 1 or op.inputs[0] is not over[0]:
            raise _refusal(op, "what it makes of the tokens is neither for each of them nor the last of them")
        source, shape = over[0], over[0].type.shape
        axes = [i for i, d in enumerate(shape) if SEQUENCE in d.symbols]
        picks = _PICKS.get(op.definition.name)
        if len(axes) != 1 or picks is None or not picks(self, op, axes[0]):
            raise _refusal(
                op, "it does not plainly pick the last token of each row: pick it by [:, -1], or [-1] without a batch"
            )
        axis = axes[0]
        if shape[axis] is B * S:  # folded already, in the order of the index
            if axis != 0:
                raise _refusal(op, "its batch is not the first axis")
            return self.build(ops.reshape, source, shape=(B, S, *shape[1:]))
        flow = op.definition.axis_flow(op)[0]
        if B not in shape or any(t is None for i, t in enumerate(flow) if i != axis and shape[i].constant != 1):
            raise _refusal(op, "the rows of the batch do not stay apart in it")
        batch = shape.index(B)
        order = (batch, axis, *(i for i in range(len(shape)) if i not in (batch, axis)))
        if order == tuple(range(len(shape))):
            return source
        return self.build(ops.transpose, source, permutation=order)

    def slice_is_last(self, op: Op, axis: int) -> bool:
        if op.attributes["axis"] != axis or op.result.type.shape[axis].constant != 1:
            return False
        return op.attributes["start"] in (S - 1, Dim.of(-1)) and op.attributes["step"] == 1

    def gather_is_last(self, op: Op, axis: int) -> bool:
        source, indices = op.inputs
        if op.attributes["axis"] != axis or self.data(indices):
            return False
        for batch, length in SIZES:
            index = Interpreter().run_cone({}, [indices], {BATCH: batch, SEQUENCE: length})[0]
            if source.type.shape[axis] is B * S:
                wanted = torch.arange(batch) * length + length - 1
                right = index.numel() == batch and torch.equal(index.flatten(), wanted)
            else:
                right = bool((index == length - 1).all()) and (op.definition is not ops.gather or index.numel() == 1)
            if not right:
                return False
        return True

    # -- what is made of it

    def _lift(self, op: Op) -> None:
        if len(op.results) != 1 or _batch(op.result) is None:
            raise _refusal(op, "the batch is not the first axis of what it makes of the last token")
        if op.definition is ops.reshape:
            source = op.inputs[0]
            # of one axis made two, the new one is behind the token, as where a mean keeps its axis
            kept = _may_keep(op.result) and (self.kept[source] or op.result.type.rank > 2)
            self._place(op.result, self.lifted[source], kept)
            return
        if op.definition is ops.gather and self._picks_each_row(op):
            self._place(op.result, self.lifted[op.inputs[0]], self.kept[op.inputs[0]])
            return
        for value, flow in zip(op.inputs, op.definition.axis_flow(op), strict=True):
            if value in self.lifted and flow[_batch(value) or 0] != _batch(op.result):
                raise _refusal(op, "the rows of the batch do not stay apart in it")
        states = {self.kept[v] for v in op.inputs if v in self.lifted}
        kept = states.pop() if len(states) == 1 else None
        beside = None if kept is None else self._beside_batch(op, kept)
        if beside is not None:
            self._place(op.result, beside, kept)
        else:
            self._place(op.result, self._as_rows(op))

    def _picks_each_row(self, op: Op) -> bool:
        """Whether a gather gives the rows of the batch as they are: the first index of x[arange(B), -1]."""
        source, indices = op.inputs
        if source not in self.lifted or op.attributes["axis"] != _batch(source) or self.data(indices):
            return False
        return op.result.type == source.type and all(
            torch.equal(Interpreter().run_cone({}, [indices], {BATCH: batch, SEQUENCE: length})[0], torch.arange(batch))
            for batch, length in SIZES
        )

    def _beside_batch(self, op: Op, kept: bool) -> Value | None:
        """The op on [B, S, …], if it keeps the tokens where they are; None if not."""
        lifted = [v for v in op.inputs if v in self.lifted]
        if any(_batch(v) != 0 for v in (*lifted, op.result)) or (kept and not _may_keep(op.result)):
            return None
        if any(BATCH in _symbols(v) for v in op.inputs if v not in self.lifted):
            return None
        attributes = {name: a if kept or name not in _AXES else _moved(a) for name, a in op.attributes.items()}
        if any(isinstance(a, tuple | Dim) for name, a in attributes.items() if name not in _AXES):
            return None
        operands = [None if v is None else self.lifted.get(v, v) for v in op.operands]
        try:
            new = self.graph.insert(op.definition, operands, attributes, location=op.location)
        except IRTypeError:
            return None
        more = 0 if kept else 1
        if new.result.type.shape != (B, S, *op.result.type.shape[2 - more :]):
            return None
        flows = zip(op.inputs, op.definition.axis_flow(op), new.definition.axis_flow(new), strict=True)
        for value, old, flow in flows:
            moved = tuple(None if t is None else t + more for t in old[2 - more :])
            if value in self.lifted and (flow[:2] != (0, 1) or flow[2:] != moved):
                return None
        return new.result

    def _as_rows(self, op: Op) -> Value:
        """The op on B*S rows."""
        operands = [None if v is None else self._rows(op, v) for v in op.operands]
        attributes = {k: substitute(a, {BATCH: B * S}) for k, a in op.attributes.items()}
        new = self.graph.insert(op.definition, operands, attributes, location=op.location).result
        if new.type.shape != _folded(op.result):
            raise _refusal(op, f"for a batch of B*S it gives {new.type}")
        return new

    def _rows(self, op: Op, value: Value) -> Value:
        if value in self.lifted:
            return self.build(ops.reshape, self.lifted[value], shape=_folded(value))
        behind = cone([value])
        symbols = {d for o in behind for a in o.attributes.values() for e in dimensions(a) for d in e.symbols}
        if SEQUENCE in symbols:
            raise _refusal(op, "it depends on how long the sequence is")
        if BATCH not in symbols:
            return value
        for each in behind:
            if each.results[0] not in self.rows:
                operands = [None if v is None else self.rows.get(v, v) for v in each.operands]
                attributes = {k: substitute(a, {BATCH: B * S}) for k, a in each.attributes.items()}
                new = self.graph.insert(each.definition, operands, attributes, location=each.location)
                self.rows.update(zip(each.results, new.results, strict=True))
        return self.rows[value]


_PICKS: dict[str, Callable[[_Lift, Op, int], bool]] = {
    "slice": _Lift.slice_is_last,
    "gather": _Lift.gather_is_last,
    "gather_elements": _Lift.gather_is_last,
}


_AXES = ("axis", "axes")
"""Attributes that name axes."""


def _moved(axes: Attribute) -> Attribute:
    """The axes where there is one more before them."""
    if isinstance(axes, tuple):
        return tuple(_moved(a) for a in axes)
    return axes + 1 if isinstance(axes, int) and axes > 0 else axes


def _depends_on(graph: Graph, inputs: list[Value]) -> Callable[[Value], bool]:
    data = set(inputs)
    for op in graph:
        if any(v in data for v in op.inputs):
            data.update(op.results)
    return lambda value: value in data


def _symbols(value: Value) -> set[str]:
    return {symbol for dim in value.type.shape for symbol in dim.symbols}


def _batch(value: Value) -> int | None:
    """The axis of the batch, if it is the first but for those of one element."""
    first = next((i for i, d in enumerate(value.type.shape) if d.constant != 1), None)
    return first if first is not None and value.type.shape[first] is B else None


def _may_keep(value: Value) -> bool:
    """Whether an axis of one element follows the batch."""
    after = (_batch(value) or 0) + 1
    return value.type.rank > after and value.type.shape[after].constant == 1


def _vocabulary(answer: Value) -> Dim:
    return next(d for d in reversed(answer.type.shape) if d.constant not in (None, 1))


def _folded(value: Value) -> tuple[Dim, ...]:
    return tuple(B * S if d is B else d for d in value.type.shape)


def _refusal(op: Op, problem: str) -> UnsupportedError:
    where = f" at {op.location}" if op.location else ""
    problem = f"{op.name}{where} cannot be lifted to all tokens: {problem}{at_source(op.location)}"
    return UnsupportedError(f"its logits are those of the last token alone, and {problem}")
