"""Whether tokens see later ones, found by running the model."""

from graphwright.ir import Graph, Interpreter, PassError, UserError, Value, ops
from graphwright.ir.convention import INPUT_IDS, LOGITS
from graphwright.ir.lazy import torch

LARGEST = 1 << 26
"""Models of up to this many parameters are tried; larger ones take too long to be a part of a refusal."""
LENGTH = 9


class NotCausalError(PassError):
    """A model whose tokens see later ones: it cannot be continued token by token, and works as a plain function."""


def with_causality(refusal: PassError, graph: Graph) -> PassError:
    """The refusal of cache insertion, and whether the model is one that could be continued."""
    match sees_later_tokens(graph):
        case True:
            return NotCausalError(f"{refusal}; tokens see later ones, so there is no causal model to continue")
        case False:
            return PassError(
                f"{refusal}; tried out, no token saw a later one, but that is not proven: write it in a known way "
                "(docs/passes.md)"
            )
        case None:
            return refusal


def sees_later_tokens(graph: Graph) -> bool | None:
    """Whether changing the last token changes the logits before it; None where that cannot be tried."""
    logits = graph.outputs.get(LOGITS)
    if logits is None or [v.name for v in graph.inputs] != [INPUT_IDS] or logits.type.rank != 3:
        return None
    sizes = [v.type.elements.constant for v in graph.weights]
    if None in sizes or sum(size or 0 for size in sizes) > LARGEST:
        return None
    generator = torch.Generator().manual_seed(0)
    interpreter, rows = Interpreter(), _rows(graph)
    try:
        for _ in range(2):
            ids = torch.randint(0, rows, (1, LENGTH), generator=generator)
            other = ids.clone()
            other[0, -1] = (ids[0, -1] + 1 + torch.randint(0, max(1, rows - 1), (), generator=generator)) % rows
            before, after = (interpreter.run(graph, {INPUT_IDS: i})[LOGITS][:, :-1].float() for i in (ids, other))
            # what rounding may move where a term that is zero is added in another place
            if float((before - after).abs().max()) > 1e-5 * float(before.abs().max()):
                return True
    except (UserError, RuntimeError, IndexError):
        return None
    return False


def _rows(graph: Graph) -> int:
    """How many token ids the tables of the graph have rows for."""

    def is_of_tokens(indices: Value) -> bool:
        return indices in graph.inputs or (indices.owner is not None and any(map(is_of_tokens, indices.owner.inputs)))

    looked_up = [
        op.inputs[0].type.shape[0].constant
        for op in graph
        if op.definition is ops.embedding and is_of_tokens(op.inputs[1])
    ]
    return min((rows for rows in looked_up if rows is not None), default=2)
