"""Faults of lowering for the kernels of a GPU: some in `prefill`, some in a graph of one token alone."""

from __future__ import annotations

from benchmarks.mutations.altering import every, narrowed, real, rebuilt, replaced, the
from benchmarks.mutations.fault import after, faults_of
from graphwright.ir import Builder, Program, ops
from graphwright.ir.convention import LOGITS
from graphwright.ir.dialects.cpu.memory import copy
from graphwright.ir.dialects.cuda.append_attention import append_attention
from graphwright.ir.dialects.cuda.attention import fused_attention, split_attention
from graphwright.ir.dialects.cuda.linear import fused_linear
from graphwright.ir.dialects.cuda.rotary import rotary_append, rotary_table


@after("cuda-rotary-tables", "qwen to cuda")
def cosines_and_sines_too_large(program: Program) -> None:
    """A table has cosines and sines times 1.02."""
    graph = program.graphs["prefill"]
    op = the(graph, rotary_table)
    rebuilt(graph, op, scale=real(op, "scale") * 1.02)


@after("cuda-attention", "gemma to cuda")
def kernel_without_a_soft_cap(program: Program) -> None:
    """In the graph for one token the kernel caps no scores."""
    graph = program.graphs["decode"]
    rebuilt(graph, the(graph, fused_attention), softcap=0.0)


@after("cuda-split-attention", "qwen to cuda")
def pieces_with_a_longer_window(program: Program) -> None:
    """In the graph for one token pieces of the context reach one token further back than the mask."""
    graph = program.graphs["decode"]
    op = next(op for op in every(graph, split_attention) if op.attribute("window", int))
    rebuilt(graph, op, window=op.attribute("window", int) + 1)


@after("cuda-rotary-append", "gemma to cuda")
def columns_of_values_for_keys(program: Program) -> None:
    """Keys are taken from the columns of the values, and values from those of the keys."""
    graph = program.graphs["prefill"]
    op = the(graph, rotary_append)
    rebuilt(graph, op, key=op.attribute("value", int), value=op.attribute("key", int))


@after("cuda-append-attention", "gemma to cuda")
def appended_token_not_attended_to(program: Program) -> None:
    """In the graph for one token the keys end in front of the one that is appended."""
    graph = program.graphs["decode"]
    op = the(graph, append_attention)
    rebuilt(graph, op, {"key_length": op.required("past_length")})


@after("cuda-linears", "qwen to cuda")
def gate_by_another_activation(program: Program) -> None:
    """The gate inside of a product is of another activation, which is near the true one."""
    graph = program.graphs["prefill"]
    rebuilt(graph, next(op for op in every(graph, fused_linear) if op.attributes["gated"]), kind="quick_gelu")


@after("cuda-linears", "qwen to cuda")
def residual_of_what_was_multiplied(program: Program) -> None:
    """What is added behind a product is a residual of another place."""
    graph = program.graphs["decode"]
    first, second = [op for op in every(graph, fused_linear) if op.operand("residual") is not None][:2]
    rebuilt(graph, second, {"residual": first.required("residual")})


@after("cuda-choose-tokens", "qwen to cuda")
def logits_rounded_beside_the_choice(program: Program) -> None:
    """The logits that go out are rounded to bfloat16."""
    graph = program.graphs["prefill"]
    replaced(graph, graph.outputs[LOGITS], narrowed)


@after("cuda-head-views", "qwen to cuda")
def heads_of_many_tokens_side_by_side(program: Program) -> None:
    """Heads of many tokens are taken from rows as if these were heads already."""
    graph = program.graphs["prefill"]
    op = the(graph, ops.split_heads)
    view = Builder(graph, op, op.location)(ops.reshape, op.inputs[0], shape=op.result.type.shape)
    graph.replace(op.result, view)


@after("cuda-copies", "gemma to cuda")
def copies_of_rings_exchanged(program: Program) -> None:
    """In the graph for one token the rings of keys and values of a layer are copied for each other."""
    graph = program.graphs["decode"]
    keys, values = list(every(graph, copy))[:2]
    one, other = keys.inputs[0], values.inputs[0]
    graph.set_operand(keys, 0, other)
    graph.set_operand(values, 0, one)


FAULTS = faults_of(globals())
