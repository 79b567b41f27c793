"""The answer of a language model in the form that the compiler continues: `logits` [B, S, vocabulary]."""

from collections.abc import Sequence

from graphwright.frontend.every_position import every_position
from graphwright.ir import Builder, Dim, Graph, UnsupportedError, Value, ops
from graphwright.ir.convention import BATCH, LOGITS, SEQUENCE

B, S = Dim.of(BATCH), Dim.of(SEQUENCE)


def as_logits(graph: Graph, parts: Sequence[Value]) -> None:
    """Makes `logits` [B, S, V] the one output of the graph, out of what it returns: see `choose_logits`.

    Axes come in any order, batch and tokens may be folded into one, the last token may stand for all, and a list of
    chunks is put together. Raises `UnsupportedError` where what is folded, or made of the last token, is not plain.
    """
    build = Builder(graph, location=parts[0].owner.location if parts[0].owner is not None else "")
    answer = parts[0] if len(parts) == 1 else build(ops.concat, *parts, axis=1)
    shape = tuple(d for d in answer.type.shape if d.constant != 1)
    if S not in shape and B * S not in shape:
        answer = every_position(graph, answer)
        shape = answer.type.shape
    if B * S in shape and B not in shape:
        answer, shape = _unfolded(build, answer)
    if answer.type.shape != shape:
        answer = build(ops.reshape, answer, shape=shape)
    order = (shape.index(B), shape.index(S), next(i for i, d in enumerate(shape) if d.constant is not None))
    if order != (0, 1, 2):
        answer = build(ops.transpose, answer, permutation=order)
    graph.outputs = {LOGITS: answer}
    graph.erase_dead()


def _unfolded(build: Builder, answer: Value) -> tuple[Value, tuple[Dim, ...]]:
    """Batch and tokens, folded into one axis, apart again, in the order in which they were folded."""
    axis = next(i for i, d in enumerate(answer.type.shape) if d is B * S)
    order = _order_of_folding(answer, axis)
    shape = tuple(d for part in answer.type.shape for d in (order if part is B * S else (part,)) if d.constant != 1)
    return build(ops.reshape, answer, shape=shape), shape


def _order_of_folding(value: Value, axis: int) -> tuple[Dim, Dim]:
    """(B, S), or (S, B): how the axis of length B*S came about."""
    op = value.owner
    while op is not None:
        if op.definition is ops.reshape and B * S not in (before := op.inputs[0].type.shape):
            places = [i for i, d in enumerate(before) if d in (B, S)]
            order = tuple(before[i] for i in places)
            if len(order) == 2 and all(d.constant == 1 for d in before[places[0] + 1 : places[1]]):
                return order[0], order[1]
            break
        flows = zip(op.inputs, op.definition.axis_flow(op), strict=True)
        behind = ((v, i) for v, f in flows for i, t in enumerate(f) if t == axis and v.type.shape[i] is B * S)
        if op.definition is ops.reshape:
            source = op.inputs[0]
            behind = ((source, i) for i, d in enumerate(source.type.shape) if d is B * S)
        found = next(behind, None)
        if found is None:
            break
        value, axis = found
        op = value.owner
    raise UnsupportedError(
        "its logits hold batch and tokens in one axis, and which row is which token's cannot be told: return "
        "[batch, sequence, vocabulary]"
    )
