"""Faults of lowering for ONNX Runtime."""

from __future__ import annotations

from typing import Any

from benchmarks.mutations.altering import (
    before,
    bypass,
    every,
    exchange,
    rebuilt,
    the,
    transformed,
    with_values,
)
from benchmarks.mutations.fault import after, faults_of, in_place_of
from graphwright.ir import DType, Op, Program, clone_graph, ops
from graphwright.ir.dialects.ort.experts import chosen_experts
from graphwright.ir.dialects.ort.group_query import group_query_attention
from graphwright.ir.dialects.ort.operators import (
    gather_ring,
    masked_attention,
    rotary_embedding,
    skip_layer_norm,
    skip_rms_norm,
)
from graphwright.ir.dialects.ort.packed_caches import dequantize_packed
from graphwright.ir.dialects.ort.quantized import matmul_nbits
from graphwright.ir.dialects.ort.recurrence import stateful_conv
from graphwright.ir.rewriting import Outcome
from graphwright.passes import Pass

# -- one graph


@in_place_of("merge-phases", "odd layer to ort")
def decode_kept_for_all_phases(true: Pass, program: Program) -> Outcome:
    """The graph that is kept is the one for a single token."""
    decode = program.graphs["decode"]
    outcome = true.run(program)
    program.graphs["prefill"] = clone_graph(decode, "prefill")
    return outcome


@after("float32-logits", "half to ort")
def logits_by_way_of_integers(program: Program) -> None:
    """Logits are cast to integers before they are cast to float32."""
    graph = program.graphs["prefill"]
    cast = graph.outputs["logits"].owner
    assert cast is not None
    before(graph, cast, "x", lambda build, x: build(ops.cast, x, dtype=DType.I32))


@after("name-context-length", "translator to ort")
def context_of_one_length(program: Program) -> None:
    """The encoder takes contexts of one length only."""
    program.graphs["encode"] = clone_graph(program.graphs["encode"], "encode", {"T": 13})


# -- weights


@after("ort-quantized", "narrow caches to ort")
def codes_in_the_other_order(program: Program) -> None:
    """The two codes of a byte are exchanged."""
    graph = program.graphs["prefill"]
    op = the(graph, matmul_nbits, "mlp.down_proj")
    swapped = with_values(program, graph, op.required("codes"), lambda codes: codes >> 4 | (codes & 15) << 4)
    rebuilt(graph, op, {"codes": swapped})


@after("ort-quantized", "narrow caches to ort")
def scales_of_the_next_block(program: Program) -> None:
    """Each block has the scale of its neighbour."""
    graph = program.graphs["prefill"]
    op = the(graph, matmul_nbits, "self_attn.o_proj")
    moved = with_values(program, graph, op.required("scales"), lambda scales: scales.roll(1, 1))
    rebuilt(graph, op, {"scales": moved})


@after("ort-separate-gates", "narrow caches to ort")
def gate_multiplied_for_up(program: Program) -> None:
    """The rows of gate are taken for those of up, and the other way round."""
    graph = program.graphs["prefill"]
    exchange(graph, the(graph, ops.glu))


@after("ort-linear", "gpt2 to ort")
def bias_of_a_product_dropped(program: Program) -> None:
    """A product loses the bias of its linear layer."""
    graph = program.graphs["prefill"]
    bypass(graph, next(op for op in every(graph, ops.add, "h.1.mlp.c_fc") if op.inputs[1].weight is not None))


@after("ort-linear", "gpt2 to ort")
def weight_left_as_it_was_stored(program: Program) -> None:
    """A square weight is multiplied without being transposed."""
    graph = program.graphs["prefill"]
    op = the(graph, ops.matmul, "h.0.attn.c_proj")
    rebuilt(graph, op, {"y": transformed(program, graph, op.required("y"), ops.transpose, permutation=(1, 0))})


# -- caches and attention


@after("ort-recurrences", "hybrid to ort")
def kernel_goes_on_over_padding(program: Program) -> None:
    """The convolution's kernel is not told which tokens are real."""
    graph = program.graphs["prefill"]
    rebuilt(graph, the(graph, stateful_conv), {"new_length": None})


@after("ort-packed-caches", "narrow caches to ort")
def scales_of_keys_for_values(program: Program) -> None:
    """Values are read from their bytes by the scales of the keys."""
    graph = program.graphs["prefill"]
    keys, values = list(every(graph, dequantize_packed))[:2]
    rebuilt(graph, values, {"scale": keys.required("scale")})


@after("ort-group-query-attention", "odd layer to ort")
def operator_with_a_shorter_window(program: Program) -> None:
    """The operator's window is one token shorter than the mask's."""
    graph = program.graphs["prefill"]
    op = next(op for op in every(graph, group_query_attention) if op.attributes["window"])
    window = op.attributes["window"]
    assert isinstance(window, int)
    rebuilt(graph, op, window=window - 1)


@after("ort-group-query-attention", "odd layer to ort")
def operator_turns_neighbouring_pairs(program: Program) -> None:
    """The operator rotates neighbouring elements instead of halves of a head."""
    graph = program.graphs["prefill"]
    rebuilt(graph, the(graph, group_query_attention, index=1), interleaved=True)


@after("ort-group-query-attention", "gpt2 to ort")
def operator_counts_one_token_more(program: Program) -> None:
    """The operator is told a last position that lies one behind the last new token."""
    graph = program.graphs["prefill"]
    op = the(graph, group_query_attention, index=1)
    before(graph, op, "last_position", lambda build, last: build(ops.add, last, 1))


@after("ort-rotary", "odd layer to ort")
def sines_taken_for_cosines(program: Program) -> None:
    """The tables of cosines and sines are exchanged."""
    graph = program.graphs["prefill"]
    exchange(graph, the(graph, rotary_embedding), 1, 2)


@after("ort-attention", "translator to ort")
def relative_bias_left_out_of_the_mask(program: Program) -> None:
    """An attention of the decoder gets no mask, and so no bias that depends on distance."""
    graph = program.graphs["prefill"]
    rebuilt(graph, the(graph, masked_attention, "SelfAttention"), {"mask": None})


@after("ort-attention", "odd layer to ort")
def query_hidden_from_itself(program: Program) -> None:
    """The mask lets a query see the keys before it only."""
    graph = program.graphs["prefill"]
    op = the(graph, ops.le)
    graph.replace(op.result, graph.insert(ops.lt, op.operands, {}, before=op, location=op.location).result)


# -- norms, rings, padding


@after("ort-skip-norms", "odd layer to ort")
def residual_goes_on_without_the_branch(program: Program) -> None:
    """What goes on behind a fused norm is one of the two that it adds."""
    graph = program.graphs["prefill"]
    op = the(graph, skip_rms_norm, index=1)
    graph.replace(op.results[1], op.inputs[0])


@after("ort-skip-norms", "gpt2 to ort")
def fused_norm_without_bias(program: Program) -> None:
    """A fused norm loses its bias."""
    graph = program.graphs["prefill"]
    rebuilt(graph, the(graph, skip_layer_norm), {"bias": None})


@after("ort-ring-caches", "mixtral to ort")
def first_place_of_a_ring_lost(program: Program) -> None:
    """The first place of a ring is never taken over."""
    graph = program.graphs["prefill"]
    before(graph, the(graph, gather_ring), "index", lambda build, index: build(ops.maximum, index, 1))


@after("ort-padding", "odd layer to ort")
def last_token_zeroed_as_padding(program: Program) -> None:
    """The last real token is taken for padding."""
    for op in _paddings(program):
        before(program.graphs["prefill"], op, "y", lambda build, length: build(ops.sub, length, 1))


@after("ort-padding", "odd layer to ort", harmless=True)
def one_padding_token_kept(program: Program) -> None:
    """The first token of the padding is kept: nothing reads it before it is written over."""
    for op in _paddings(program):
        before(program.graphs["prefill"], op, "y", lambda build, length: build(ops.add, length, 1))


def _paddings(program: Program) -> list[Op]:
    """What tells real new tokens from padding, for what is appended."""
    found: list[Op] = []
    for op in every(program.graphs["prefill"], ops.kv_append):
        kept = op.required("new").defined_by(ops.where)
        real = None if kept is None else kept.inputs[0].defined_by(ops.lt)
        if real is not None:
            found.append(real)
    return found


# -- the rest


@after("ort-decompose", "half to ort")
def widened_norm_without_epsilon(program: Program) -> None:
    """A norm that is computed in float32 loses its epsilon."""
    graph = program.graphs["prefill"]
    rebuilt(graph, the(graph, ops.rms_norm, "layers.0.input_layernorm"), epsilon=0.0)


@after("ort-experts", "mixtral to ort")
def up_taken_for_gate(program: Program) -> None:
    """Rows of gate and up stand in the other order."""
    graph = program.graphs["prefill"]
    op = the(graph, chosen_experts)

    def exchanged(rows: Any) -> Any:
        experts, count, *rest = rows.shape
        return rows.reshape(experts, count // 2, 2, *rest).flip(2).reshape(rows.shape)

    rebuilt(graph, op, {"gate_up": with_values(program, graph, op.required("gate_up"), exchanged)})


FAULTS = faults_of(globals())
