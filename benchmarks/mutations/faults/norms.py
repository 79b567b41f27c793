"""Faults of the fusion of norms, activations and gated units."""

from __future__ import annotations

from benchmarks.mutations.altering import bypass, every, exchange, rebuilt, replaced, the
from benchmarks.mutations.fault import after, faults_of, in_place_of
from graphwright.ir import Builder, Program, Value, ops
from graphwright.ir.rewriting import Match, Outcome, Refusal, rewrite, rule
from graphwright.passes import Pass
from graphwright.passes.raising.activations import FuseActivations, _capped, fuse_softcap


@after("fuse-norms", "qwen")
def epsilon_by_default(program: Program) -> None:
    """Fused norms have the usual epsilon, 1e-5, and not the model's 1e-6."""
    graph = program.graphs["forward"]
    for op in every(graph, ops.rms_norm):
        rebuilt(graph, op, epsilon=1e-5)


@after("fuse-norms", "half")
def epsilon_dropped(program: Program) -> None:
    """The first norm divides by the root mean square itself."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.rms_norm, "layers.0.input_layernorm"), epsilon=0.0)


@after("fuse-norms", "by_hand")
def mean_not_subtracted(program: Program) -> None:
    """LayerNorm is taken for RMSNorm, which does not subtract the mean."""
    graph = program.graphs["forward"]
    op = the(graph, ops.layer_norm, "tiled.norm")
    build = Builder(graph, op, op.location)
    norm = build(ops.rms_norm, op.required("x"), op.required("weight"), epsilon=op.attributes["epsilon"])
    graph.replace(op.result, build(ops.add, norm, op.required("bias")))


@after("fuse-norms", "by_hand")
def bias_of_norm_lost(program: Program) -> None:
    """LayerNorm is fused without its bias."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.layer_norm, "tiled.norm2"), {"bias": None})


@after("fuse-norms", "gemma")
def weight_of_another_norm(program: Program) -> None:
    """The norm behind attention takes the weight of the one before the feed-forward."""
    graph = program.graphs["forward"]
    other = the(graph, ops.rms_norm, "layers.0.pre_feedforward_layernorm").required("weight")
    rebuilt(graph, the(graph, ops.rms_norm, "layers.0.post_attention_layernorm"), {"weight": other})


@after("fuse-norms", "qwen")
def norm_over_the_tokens(program: Program) -> None:
    """The last norm's mean is over the tokens instead of the features."""
    graph = program.graphs["forward"]
    op = the(graph, ops.rms_norm, "model.norm")
    build = Builder(graph, op, op.location)
    x = op.required("x")
    mean_square = build(ops.mean, build(ops.mul, x, x), axes=(1,), keepdims=True)
    normal = build(ops.mul, x, build(ops.rsqrt, build(ops.add, mean_square, 1e-6)))
    graph.replace(op.result, build(ops.mul, normal, op.required("weight")))


@after("fuse-norms", "half")
def residual_taken_behind_the_norm(program: Program) -> None:
    """A layer adds its feed-forward to what the norm made of the residual, not to the residual."""
    graph = program.graphs["forward"]
    op = the(graph, ops.add, "layers.1", 1)
    norm = the(graph, ops.rms_norm, "layers.1.post_attention_layernorm")
    graph.set_operand(op, op.inputs.index(norm.required("x")), norm.result)


@after("fuse-activations", "gpt2")
def exact_form_for_tanh_gelu(program: Program) -> None:
    """GELU with tanh becomes the exact one, in the last layer."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.activation, "h.1.mlp.act"), kind="gelu")


@rule(_capped)
def _any_two_factors(match: Match, build: Builder) -> Value | Refusal:
    cap = match.number("cap")
    return Refusal("no number") if cap is None else build(ops.softcap, match["x"], cap=cap)


@in_place_of("fuse-activations", "by_hand")
def two_numbers_taken_for_a_soft_cap(true: Pass, program: Program) -> Outcome:
    """2 tanh(x / 3) becomes a soft cap: the rule does not compare its two factors."""
    rules = [_any_two_factors if r is fuse_softcap else r for r in FuseActivations.rules]
    return rewrite(program, program.graphs["forward"], rules)


@after("fuse-activations", "gemma")
def soft_cap_of_logits_lost(program: Program) -> None:
    """The cap on the logits is dropped."""
    graph = program.graphs["forward"]
    bypass(graph, list(every(graph, ops.softcap))[-1])


@after("fuse-glu", "gemma")
def gate_and_up_exchanged(program: Program) -> None:
    """The activation is done on the other factor, in one layer."""
    graph = program.graphs["forward"]
    exchange(graph, the(graph, ops.glu, "layers.1.mlp"))


@after("fuse-glu", "qwen")
def relu_for_silu(program: Program) -> None:
    """The last layer's gated unit has another activation."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.glu, "layers.2.mlp"), kind="relu")


@after("fuse-norms", "qwen", harmless=True)
def epsilon_changed_below_rounding(program: Program) -> None:
    """Epsilons differ by one part in a hundred million."""
    graph = program.graphs["forward"]
    for op in every(graph, ops.rms_norm):
        rebuilt(graph, op, epsilon=1e-6 * (1 + 1e-8))


@after("fuse-glu", "gemma", harmless=True)
def gated_unit_spelt_out_again(program: Program) -> None:
    """up · activation(gate) as two ops, its factors exchanged."""
    graph = program.graphs["forward"]
    op = the(graph, ops.glu, "layers.0.mlp")
    build = Builder(graph, op, op.location)
    gate = build(ops.activation, op.required("gate"), kind=op.attributes["kind"])
    graph.replace(op.result, build(ops.mul, op.required("up"), gate))


@after("fuse-activations", "gpt2", harmless=True)
def doubled_and_halved(program: Program) -> None:
    """A factor of two goes in before a product and out behind it: powers of two do not round."""
    graph = program.graphs["forward"]
    op = the(graph, ops.linear, "h.0.mlp.c_fc")
    replaced(graph, op.result, lambda build, x: build(ops.mul, build(ops.mul, x, 2.0), 0.5))


FAULTS = faults_of(globals())
