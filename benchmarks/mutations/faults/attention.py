"""Faults of heads, attention and masks."""

from __future__ import annotations

from unittest.mock import patch

import torch

from benchmarks.mutations.altering import every, picked, real, rebuilt, replaced, the
from benchmarks.mutations.fault import after, faults_of, in_place_of
from benchmarks.mutations.models import WINDOW
from graphwright.ir import Builder, Program, StoredArray, Value, ops
from graphwright.ir.rewriting import Match, Outcome, rewrite, rule
from graphwright.passes import Pass
from graphwright.passes.raising.attention import REST, _grouped
from graphwright.passes.raising.masks import _Probe


@after("unfold-heads", "by_hand")
def softmax_over_the_queries(program: Program) -> None:
    """The axis of the softmax is not moved on when the batch is unfolded."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.softmax, "folded"), axis=2)


@after("unfold-heads", "by_hand")
def slopes_of_other_heads(program: Program) -> None:
    """The linear biases come to the heads in reverse."""
    graph = program.graphs["forward"]
    op = next(o for o in every(graph, ops.mul, "folded") if any("slopes" in str(v.name) for v in o.inputs))
    index = next(i for i, v in enumerate(op.inputs) if v.weight is not None)
    graph.set_operand(op, index, picked(program, graph, op.inputs[index], [3, 2, 1, 0], 0))


@after("raise-heads", "qwen")
def heads_split_without_transpose(program: Program) -> None:
    """The values of a layer are cut into heads as they lie in memory, tokens and heads mixed."""
    graph = program.graphs["forward"]
    op = the(graph, ops.split_heads, "layers.1.self_attn", 2)
    build = Builder(graph, op, op.location)
    graph.replace(op.result, build(ops.reshape, op.required("x"), shape=op.result.type.shape))


@after("raise-heads", "gpt2")
def heads_interleaved(program: Program) -> None:
    """The features of a head stand apart: head and place in the head are exchanged."""
    graph = program.graphs["forward"]
    op = the(graph, ops.split_heads, "h.1.attn", 1)
    build = Builder(graph, op, op.location)
    batch, heads, tokens, size = op.result.type.shape
    apart = build(ops.reshape, op.required("x"), shape=(batch, tokens, size, heads))
    graph.replace(op.result, build(ops.transpose, apart, permutation=(0, 3, 1, 2)))


@rule(_grouped)
def _any_repetition(match: Match, build: Builder) -> Value:
    rest = [match.get(capture.name) for capture in REST]
    return build(ops.attention, match["q"], match["k"], match["v"], *rest, **match.root.attributes)


@in_place_of("ungroup-queries", "by_hand")
def tiled_heads_taken_for_groups(true: Pass, program: Program) -> Outcome:
    """Keys in the order 0 1 0 1 are given once, as if it were 0 0 1 1: the rule does not look how they are repeated."""
    return rewrite(program, program.graphs["forward"], [_any_repetition])


@after("ungroup-queries", "qwen")
def groups_taken_in_turn(program: Program) -> None:
    """Query heads go to the key heads 0 1 0 1 instead of 0 0 1 1, in one layer."""
    graph = program.graphs["forward"]
    op = the(graph, ops.attention, "layers.1.self_attn")
    order = graph.weight(program.add_weight("order", StoredArray.of(torch.tensor([0, 2, 1, 3]))))
    build = Builder(graph, op, op.location)
    graph.set_operand(op, 0, build(ops.gather, op.required("q"), order, axis=1))
    replaced(graph, op.result, lambda build, x: build(ops.gather, x, order, axis=1))


@after("raise-attention", "gemma")
def scale_dropped(program: Program) -> None:
    """The scores of a layer are not scaled."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.attention, "layers.0.self_attn"), scale=1.0)


@after("raise-attention", "gemma")
def soft_cap_of_scores_dropped(program: Program) -> None:
    """The scores of a layer are not capped."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.attention, "layers.1.self_attn"), softcap=0.0)


@after("raise-attention", "gemma")
def soft_cap_before_the_scale(program: Program) -> None:
    """Scores are capped first and scaled then, which bends them sooner."""
    graph = program.graphs["forward"]
    op = the(graph, ops.attention, "layers.1.self_attn")
    rebuilt(graph, op, softcap=real(op, "softcap") * real(op, "scale"))


@after("raise-masks", "by_hand")
def linear_bias_lost_with_the_mask(program: Program) -> None:
    """The bias goes where its hiding went, with what it adds to the scores."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.attention, "folded"), {"bias": None})


@after("raise-masks", "qwen")
def window_one_longer(program: Program) -> None:
    """A query sees one token more than the window holds."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.attention, "layers.0.self_attn"), window=WINDOW + 1)


@after("raise-masks", "qwen")
def window_on_the_wrong_layer(program: Program) -> None:
    """The masks of two layers are exchanged."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.attention, "layers.1.self_attn"), mask="sliding", window=WINDOW)
    rebuilt(graph, the(graph, ops.attention, "layers.2.self_attn"), mask="causal", window=0)


@in_place_of("raise-masks", "qwen")
def mask_looked_at_within_the_window(true: Pass, program: Program) -> Outcome:
    """Masks are evaluated at a length where a window hides nothing yet: sliding looks like causal."""
    with patch.object(_Probe, "_length", return_value=WINDOW):
        return true.run(program)


@after("raise-masks", "half")
def causal_taken_for_full(program: Program) -> None:
    """A layer sees the tokens that come."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.attention, "layers.1.self_attn"), mask="full")


@after("raise-masks", "gemma")
def window_taken_for_chunks(program: Program) -> None:
    """A sliding window becomes a window that jumps."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.attention, "layers.0.self_attn"), mask="chunked")


@after("raise-masks", "translator")
def encoder_taken_for_causal(program: Program) -> None:
    """A layer of the encoder looks back only."""
    graph = program.graphs["encode"]
    rebuilt(graph, the(graph, ops.attention, "encoder.block.1.layer.0.SelfAttention"), mask="causal")


@after("raise-masks", "half", harmless=True)
def window_of_the_whole_context(program: Program) -> None:
    """A causal mask becomes a window that holds the longest context there can be."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.attention, "layers.1.self_attn"), mask="sliding", window=512)


@after("raise-attention", "by_hand", harmless=True)
def all_scores_moved(program: Program) -> None:
    """One number is added to every score, which a softmax takes out again."""
    graph = program.graphs["forward"]
    op = the(graph, ops.attention, "folded")
    build = Builder(graph, op, op.location)
    graph.set_operand(op, op.definition.operand_index("bias"), build(ops.add, op.required("bias"), 1.0))


FAULTS = faults_of(globals())
