"""Faults of canonicalization and of conversion to a wider type."""

from __future__ import annotations

import torch

from benchmarks.mutations.altering import (
    bypass,
    every,
    exchange,
    narrowed,
    number,
    real,
    rebuilt,
    replaced,
    the,
    transformed,
    with_values,
)
from benchmarks.mutations.fault import after, faults_of
from graphwright.ir import Op, Program, ops
from graphwright.ir.weights import Applied


@after("canonicalize", "qwen")
def equal_ops_with_other_attributes_merged(program: Program) -> None:
    """Common subexpressions are compared without their attributes: both halves of a head become the first."""
    graph = program.graphs["forward"]
    first: dict[object, Op] = {}
    for op in every(graph, ops.slice):
        earlier = first.setdefault((op.inputs[0], op.result.type), op)
        if earlier is not op:
            graph.replace(op.result, earlier.result)


@after("canonicalize", "gemma")
def one_of_a_sum_forgotten(program: Program) -> None:
    """Folding 1 + w into a weight keeps w alone, for one norm."""
    graph = program.graphs["forward"]
    (folded,) = [v for v in graph.weights if (v.name or "").startswith("model.layers.1.input_layernorm.weight")]
    assert folded.weight is not None
    sum = folded.weight.expression
    assert isinstance(sum, Applied)
    (plain,) = [e for e in sum.operands if e is not None and e.type.rank == 1]
    graph.replace(folded, graph.weight(program.add_weight("model.layers.1.input_layernorm.weight", plain)))


@after("canonicalize", "qwen")
def small_number_taken_for_zero(program: Program) -> None:
    """x + epsilon is x: the number is compared with zero in too coarse a way."""
    graph = program.graphs["forward"]
    for op in every(graph, ops.constant):
        if op.result.tensor.dtype.is_float and 0 < real(op, "value") < 1e-3:
            for user in op.result.users:
                bypass(graph, user)


@after("canonicalize", "qwen", 1)
def residual_taken_for_dead(program: Program) -> None:
    """The sum behind a layer's feed-forward is erased, as if nothing needed its other half."""
    graph = program.graphs["forward"]
    bypass(graph, the(graph, ops.add, "model.layers.1", 1), 1)


@after("canonicalize", "by_hand", 2)
def transpose_merged_into_reshape(program: Program) -> None:
    """Heads are merged as they lie in memory: a transpose before a reshape counts as another reshape."""
    graph = program.graphs["forward"]
    merged = next(
        o
        for o in every(graph, ops.reshape, "tiled")
        if o.inputs[0].defined_by(ops.transpose) and o.result.type.rank == 3
    )
    transpose = merged.inputs[0].owner
    assert transpose is not None
    graph.set_operand(merged, 0, transpose.inputs[0])


@after("canonicalize", "gpt2")
def square_weight_transposed(program: Program) -> None:
    """The weight of a product that is spelt without `linear` is transposed once too often; it is square."""
    graph = program.graphs["forward"]
    op = the(graph, ops.linear, "h.1.attn.c_proj")
    rebuilt(
        graph, op, {"weight": transformed(program, graph, op.required("weight"), ops.transpose, permutation=(1, 0))}
    )


@after("canonicalize", "gpt2")
def fused_projection_cut_one_row_early(program: Program) -> None:
    """The values' part of the fused projection begins one row too early."""
    graph = program.graphs["forward"]
    op = next(o for o in every(graph, ops.linear, "h.0.attn") if str(o.required("weight").name).endswith("3"))
    weight = op.required("weight").weight
    assert weight is not None
    cut = weight.expression
    assert isinstance(cut, Applied)
    assert cut.definition is ops.slice
    shifted = Applied.of(cut.definition, cut.operands, {"axis": 0, "start": 63, "stop": 95})
    rebuilt(graph, op, {"weight": graph.weight(program.add_weight(weight.name, shifted))})


@after("canonicalize", "gpt2")
def bias_lost_with_the_reshapes(program: Program) -> None:
    """A product on folded axes is unfolded without its bias."""
    graph = program.graphs["forward"]
    rebuilt(graph, the(graph, ops.linear, "h.1.mlp.c_fc"), {"bias": None})


@after("canonicalize", "by_hand")
def difference_turned_over(program: Program) -> None:
    """Subtraction counts as commutative: mean - x in a norm."""
    graph = program.graphs["forward"]
    exchange(graph, the(graph, ops.sub, "tiled.norm2"))


@after("canonicalize", "gemma")
def number_folded_in_half_precision(program: Program) -> None:
    """The scale of the embeddings is folded in bfloat16."""
    graph = program.graphs["forward"]
    scale = the(graph, ops.mul, "embed_tokens")
    op = next(o for v in scale.inputs if (o := v.defined_by(ops.constant)) is not None)
    number(graph, op, float(torch.tensor(real(op, "value"), dtype=torch.bfloat16)))


@after("canonicalize", "gemma", 1)
def scale_taken_for_one(program: Program) -> None:
    """The product that scales the embeddings is dropped, as one with 1 would be."""
    graph = program.graphs["forward"]
    op = the(graph, ops.mul, "embed_tokens")
    bypass(graph, op, next(i for i, v in enumerate(op.inputs) if v.type.rank == 3))


@after("canonicalize", "qwen", 5)
def caches_taken_for_one_value(program: Program) -> None:
    """Two caches of one type are merged where they are returned: a layer goes on from another one's values."""
    outputs = program.graphs["prefill"].outputs
    outputs["present.2.value"] = outputs["present.1.value"]


@after("convert-dtype", "half")
def branch_left_in_half_precision(program: Program) -> None:
    """What one layer adds to the residual is rounded to bfloat16 first."""
    graph = program.graphs["forward"]
    replaced(graph, the(graph, ops.linear, "layers.1.mlp.down_proj").result, narrowed)


@after("convert-dtype", "half")
def epsilon_rounded_to_half_precision(program: Program) -> None:
    """The epsilons of norms pass through bfloat16."""
    graph = program.graphs["forward"]
    for op in every(graph, ops.constant):
        if op.attributes["value"] == 1e-6:
            number(graph, op, float(torch.tensor(1e-6, dtype=torch.bfloat16)))


@after("convert-dtype", "qwen")
def weight_cut_to_ten_bits(program: Program) -> None:
    """One weight keeps ten bits of its fraction, as a product in TF32 does."""
    graph = program.graphs["forward"]
    op = the(graph, ops.linear, "layers.1.mlp.up_proj")

    def cut(weight: torch.Tensor) -> torch.Tensor:
        return (weight.view(torch.int32) & ~0x1FFF).view(torch.float32)

    rebuilt(graph, op, {"weight": with_values(program, graph, op.required("weight"), cut)})


FAULTS = faults_of(globals())
