"""Faults of lowering for the kernels of the CPU: some in `prefill`, some in a graph of one token alone."""

from __future__ import annotations

from benchmarks.mutations.altering import every, exchange, rebuilt, the
from benchmarks.mutations.fault import after, faults_of
from graphwright.ir import Builder, Program, ops
from graphwright.ir.dialects.cpu.attention import fused_attention
from graphwright.ir.dialects.cpu.bf16 import bf16_linear
from graphwright.ir.dialects.cpu.columns import gated_columns
from graphwright.ir.dialects.cpu.memory import copy
from graphwright.ir.dialects.cpu.norms import add_rms_norm
from graphwright.ir.dialects.cpu.packed_caches import dequantize_packed
from graphwright.ir.dialects.cpu.quantized import rounded_linear
from graphwright.ir.dialects.cpu.rotary import rotary_append, rotary_embedding


@after("cpu-rounded-linear", "codes to cpu")
def activations_rounded_in_longer_groups(program: Program) -> None:
    """A product rounds what it reads with one scale for a token instead of one for each group."""
    graph = program.graphs["prefill"]
    rebuilt(graph, the(graph, rounded_linear, "mlp.down_proj"), group=0)


@after("cpu-bf16-linear", "bf16 to cpu")
def weight_of_another_layer(program: Program) -> None:
    """A product rounds what it reads, and multiplies by the weight of the next layer."""
    graph = program.graphs["prefill"]
    first, second = (the(graph, bf16_linear, f"layers.{layer}.mlp.down_proj") for layer in (0, 1))
    graph.set_operand(first, 1, second.required("weight"))


@after("cpu-packed-caches", "narrow caches to cpu")
def packed_keys_read_by_the_scales_of_values(program: Program) -> None:
    """In the graph for one token codes of keys, two in a byte, are read by the scales of the values."""
    graph = program.graphs["decode"]
    keys, values = list(every(graph, dequantize_packed))[:2]
    graph.set_operand(keys, 1, values.inputs[1])


@after("cpu-rotary-tables", "qwen to cpu")
def table_of_sines_for_cosines(program: Program) -> None:
    """A rotation gets its tables in the other order."""
    graph = program.graphs["prefill"]
    exchange(graph, the(graph, rotary_embedding, "layers.1.self_attn"), 1, 2)


@after("cpu-attention", "qwen to cpu")
def kernel_with_a_shorter_window(program: Program) -> None:
    """In the graph for one token the window is one token shorter than the mask's."""
    graph = program.graphs["decode"]
    op = next(op for op in graph if op.definition is fused_attention and op.attribute("window", int))
    rebuilt(graph, op, window=op.attribute("window", int) - 1)


@after("cpu-attention", "codes to cpu")
def scales_of_values_for_keys(program: Program) -> None:
    """The kernel reads keys by the scales of the values, and values by those of the keys."""
    graph = program.graphs["prefill"]
    op = the(graph, fused_attention)
    exchange(graph, op, op.definition.operand_index("key_scale"), op.definition.operand_index("value_scale"))


@after("cpu-rotary-append", "codes to cpu")
def appended_keys_turn_neighbouring_pairs(program: Program) -> None:
    """In the graph for one token keys and queries are turned in neighbouring pairs instead of halves of a head."""
    graph = program.graphs["decode"]
    op = the(graph, rotary_append)
    rebuilt(graph, op, interleaved=not op.attribute("interleaved", bool))


@after("cpu-gated-columns", "qwen to cpu")
def columns_of_up_for_gate(program: Program) -> None:
    """Columns of gate and up are taken for each other."""
    graph = program.graphs["prefill"]
    op = the(graph, gated_columns, index=1)
    rebuilt(graph, op, gate=op.attribute("up", int), up=op.attribute("gate", int))


@after("cpu-add-norms", "qwen to cpu")
def sum_loses_what_was_added(program: Program) -> None:
    """What goes on behind a fused norm is one of the two that it adds."""
    graph = program.graphs["prefill"]
    op = the(graph, add_rms_norm, index=1)
    graph.replace(op.results[0], op.inputs[0])


@after("cpu-heads-as-views", "qwen to cpu")
def heads_of_many_tokens_viewed(program: Program) -> None:
    """Heads of many tokens are taken from a row as if it were of one token."""
    graph = program.graphs["prefill"]
    op = the(graph, ops.split_heads)
    view = Builder(graph, op, op.location)(ops.reshape, op.inputs[0], shape=op.result.type.shape)
    graph.replace(op.result, view)


@after("cpu-copies", "gemma to cpu")
def ring_of_values_copied_for_keys(program: Program) -> None:
    """In the graph for one token keys are appended to a copy of the ring of the values."""
    graph = program.graphs["decode"]
    keys, values = list(every(graph, copy))[:2]
    graph.set_operand(keys, 0, values.inputs[0])


FAULTS = faults_of(globals())
