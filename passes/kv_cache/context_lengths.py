"""Contexts of different lengths in one batch: padding behind a row's own length is hidden from attention."""

from collections.abc import Callable

from graphwright.ir import Dim, DType, Graph, Op, TensorType, Value, clone_graph, ops
from graphwright.ir.convention import BATCH, CONTEXT_LENGTH, SEQUENCE
from graphwright.passes.kv_cache.token_axes import TokenAxes, TokenAxis, refuse
from graphwright.passes.raising.probing import is_set_by_length, positional_values

S = Dim.of(SEQUENCE)


def with_context_length(graph: Graph) -> Graph:
    """A copy of a graph from context tokens with the input `context_length`, to which attentions limit their keys.

    A context of fixed length (audio features, an image) has no padding. Raises `PassError` where another op than
    attention mixes context tokens: padding would reach the others.
    """
    encode = clone_graph(graph, graph.name)
    sources = [v for v in encode.inputs if S in v.type.shape]
    if not sources:
        return encode
    for value in sources:
        if value.type.shape[:2] != (Dim.of(BATCH), S):
            raise refuse(None, f"a context must be [B, S, …]; '{value.name}' is {value.type}")
    lengths = encode.add_input(CONTEXT_LENGTH, TensorType(DType.I64, (Dim.of(BATCH),)))
    is_free = positional_values(encode)
    axes = TokenAxes(sources, is_free)
    for op in encode:
        if is_set_by_length(op):
            raise refuse(op, "it depends on how long the context is, which differs between padded rows")
        if all(is_free(v) for v in op.results):
            continue
        if op.definition is ops.attention:
            _check_attention(op, axes, is_free)
            encode.set_operand(op, [o.name for o in op.definition.operands].index("key_length"), lengths)
            axes.place(op.result, TokenAxis(2))
        else:
            axes.follow(op)
    return encode


def _check_attention(op: Op, axes: TokenAxes, is_free: Callable[[Value], bool]) -> None:
    """Raises `PassError` unless an attention's keys are the tokens of the context, each at its place."""
    bias = op.operand("bias")
    if bias is not None and not is_free(bias):
        raise refuse(op, "its bias depends on the context; only one that depends on positions can be kept")
    operands = [op.required(n) for n in ("q", "k", "v")]
    if op.operand("key_length") is not None or any(is_free(v) or axes[v] != TokenAxis(2) for v in operands):
        raise refuse(op, "its queries and keys are not the tokens of the context")
