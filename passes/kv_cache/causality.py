"""The proof that a forward graph can be continued: no token depends on a later one.

Attention may mix tokens under a mask that never looks ahead, a recurrence carries a state from each to the next, and
everything else must treat each token by itself (`token_axes`). Attention to a context, which all tokens see whole, is
no mixing of tokens.
"""

from collections.abc import Callable

from graphwright.ir import Dim, DType, Graph, Op, Value, ops, tensor
from graphwright.ir.convention import BATCH, CONTEXT, INPUT_IDS, SEQUENCE, SOURCE_SEQUENCE
from graphwright.passes.kv_cache.row_positions import are_own_positions
from graphwright.passes.kv_cache.token_axes import TokenAxes, TokenAxis, refuse
from graphwright.passes.raising.probing import is_set_by_length, positional_values

TOKENS_TYPE = tensor(DType.I64, BATCH, SEQUENCE)
CAUSAL_MASKS = ("causal", "sliding", "chunked")
STATE = "state"
"""The operand of an op that carries a state from token to token."""


def carries_state(op: Op) -> bool:
    return any(operand.name == STATE for operand in op.definition.operands)


class Causality:
    """What is known of the values of a forward graph, and whether each token depends on earlier ones only."""

    def __init__(self, forward: Graph) -> None:
        self.forward = forward
        self.is_positional: Callable[[Value], bool] = positional_values(forward)
        """Whether a value depends on shapes and weights only."""
        tokens = next((v for v in forward.inputs if v.name == INPUT_IDS), None)
        context = [v for v in forward.inputs if (v.name or "").startswith(CONTEXT)]
        if len(forward.inputs) != 1 + len(context) or tokens is None or tokens.type != TOKENS_TYPE:
            listed = ", ".join(f"{v.name}: {v.type}" for v in forward.inputs)
            raise refuse(None, f"the graph must have the one input {INPUT_IDS}: {TOKENS_TYPE}; it has {listed}")
        self.is_free: Callable[[Value], bool] = positional_values(forward, [tokens])
        """Whether a value depends on no token; if it is not positional, it is of the context."""
        self.axes = TokenAxes([tokens], self.is_free)

    def run(self) -> None:
        """Raises `PassError`, naming op and module path, where a token may depend on a later one."""
        for op in self.forward:
            mask = op.attributes["mask"] if op.definition is ops.attention else "causal"
            if mask not in CAUSAL_MASKS and not self.is_cross(op):
                raise refuse(op, f"its mask is '{mask}': no mask that is understood hides later tokens")
        for op in self.forward:
            if not all(self.is_positional(v) for v in op.results):
                self._check_context(op)
            if not all(self.is_free(v) for v in op.results):
                self._check(op)

    def _check(self, op: Op) -> None:
        """Follows the tokens through an op. Raises `PassError` where it lets a token depend on later ones."""
        if op.definition is ops.attention:
            self._check_attention(op)
            self.axes.place(op.result, TokenAxis(2))
        elif carries_state(op):
            over = [i for i, d in enumerate(op.results[0].type.shape) if SEQUENCE in d.symbols]
            if len(over) != 1 or op.results[0].type.shape[over[0]] is not Dim.of(SEQUENCE):
                raise refuse(op, f"its result {op.results[0].type} does not hold one token a place")
            for value in op.results:
                self.axes.place(value, TokenAxis(over[0]))
        else:
            if is_set_by_length(op):
                raise refuse(op, "it depends on how long the whole sequence is, which is not known while it grows")
            self.axes.follow(op)
            self._check_positions(op)

    def _check_positions(self, op: Op) -> None:
        """Raises `PassError` unless an op's positional operands meet each token with its own position."""
        token_axis = self.axes[op.results[0]].axis
        for value, flow in zip(op.inputs, op.definition.axis_flow(op), strict=True):
            if not self.is_positional(value) or value.defined_by(ops.constant) is not None:
                continue
            for dim, target in zip(value.type.shape, flow, strict=True):
                if SEQUENCE in dim.symbols and target != token_axis:
                    raise refuse(op, f"it uses positions ({value.type}) apart from the tokens that stand there")

    def is_cross(self, op: Op) -> bool:
        """Whether an op is attention from the tokens to the context."""
        if op.definition is not ops.attention or self.is_free(op.required("q")):
            return False
        return all(self.is_free(op.required(n)) and not self.is_positional(op.required(n)) for n in ("k", "v"))

    def _check_context(self, op: Op) -> None:
        """Raises `PassError` if padding of a context would reach what is made of it."""
        of_context = [v for v in op.inputs if any(SOURCE_SEQUENCE in d.symbols for d in v.type.shape)]
        if not of_context or self.is_cross(op):
            return
        for value, flow in zip(op.inputs, op.definition.axis_flow(op), strict=True):
            over = [t for t, d in zip(flow, value.type.shape, strict=True) if SOURCE_SEQUENCE in d.symbols]
            if None in over or not self.is_free(op.results[0]):
                raise refuse(
                    op, f"it mixes the context's tokens ({value.type}); only attention may, which hides padding"
                )

    def _check_attention(self, op: Op) -> None:
        if self.is_cross(op):
            if (
                op.attributes["mask"] != "full"
                or op.operand("bias") is not None
                or op.operand("key_length") is not None
                or op.operand("key_positions") is not None
            ):
                raise refuse(op, "it hides part of the context; only padding may be hidden")
            return
        bias = op.operand("bias")
        if bias is not None and not self.is_positional(bias):
            raise refuse(op, "its bias depends on the tokens; only one that depends on positions can be continued")
        if op.operand("key_length") is not None or op.operand("key_positions") is not None:
            raise refuse(op, "it limits its keys already: the graph seems to have a cache")
        if not are_own_positions(op.required("positions")):
            raise refuse(op, "its queries do not stand at the positions 0, 1, 2, …")
        for name in ("q", "k", "v"):
            operand = op.required(name)
            if self.is_free(operand) or self.axes[operand] != TokenAxis(2):
                raise refuse(op, f"its {name} {operand.type} is not made of the sequence's tokens")
