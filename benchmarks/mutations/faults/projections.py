"""Faults of projections: absorbed, packed; of the choice of logits, of contexts, and of the recurrences raised."""

from __future__ import annotations

from benchmarks.mutations.altering import (
    before,
    bypass,
    every,
    exchange,
    picked,
    rebuilt,
    replaced,
    size,
    the,
    uses_exchanged,
)
from benchmarks.mutations.fault import after, faults_of
from graphwright.ir import Program, ops
from graphwright.ir.weights import Applied


@after("absorb-projections", "deepseek")
def matrix_of_keys_for_values(program: Program) -> None:
    """What attention mixes is led to the values by the matrix that belongs to the keys."""
    graph = program.graphs["forward"]
    cuts = [o for o in every(graph, ops.slice, "layers.1.self_attn") if o.inputs[0].type.rank == 3]
    rebuilt(graph, cuts[-1], start=0, stop=16)


@after("absorb-projections", "deepseek")
def matrix_of_keys_not_transposed(program: Program) -> None:
    """Queries meet the keys' matrix the wrong way round; it is square."""
    graph = program.graphs["forward"]
    op = next(o for o in every(graph, ops.slice, "layers.0.self_attn") if o.inputs[0].type.rank == 3)
    replaced(graph, op.result, lambda build, w: build(ops.transpose, w, permutation=(0, 2, 1)))


@after("absorb-projections", "deepseek")
def parts_of_keys_in_another_order(program: Program) -> None:
    """In the keys the rotary part stands first, in the queries last."""
    graph = program.graphs["forward"]
    keys = the(graph, ops.attention, "layers.1.self_attn").required("k").owner
    assert keys is not None
    exchange(graph, keys)


@after("pack-projections", "gpt2")
def packed_in_another_order(program: Program) -> None:
    """The parts of a packed product are handed out in another order than they were packed in."""
    graph = program.graphs["prefill"]
    op = the(graph, ops.split, "h.1.attn")
    uses_exchanged(graph, op.results[0], op.results[1])


@after("pack-projections", "gpt2")
def biases_packed_in_another_order(program: Program) -> None:
    """Biases are packed in another order than the matrices."""
    graph = program.graphs["prefill"]
    op = next(o for o in every(graph, ops.linear, "h.0.attn") if size(o.result, 2) == 96)
    order = [*range(32, 64), *range(32), *range(64, 96)]
    rebuilt(graph, op, {"bias": picked(program, graph, op.required("bias"), order, 0)})


@after("pack-projections", "qwen")
def packed_parts_overlap(program: Program) -> None:
    """The values are cut out of the packed product one row too early."""
    graph = program.graphs["prefill"]
    op = the(graph, ops.split, "layers.1.self_attn")
    sizes = [size(v, 2) for v in op.results]
    start = sum(sizes[:2]) - 1
    whole = op.inputs[0]
    replaced(graph, op.results[2], lambda build, _: build(ops.slice, whole, axis=2, start=start, stop=start + sizes[2]))


@after("select-logits", "qwen")
def logits_of_the_token_before(program: Program) -> None:
    """Logits are those of the token before the one that is asked for."""
    graph = program.graphs["prefill"]
    op = the(graph, ops.take_tokens)
    before(graph, op, "positions", lambda build, p: build(ops.maximum, build(ops.sub, p, 1), 0))


@after("select-logits", "gpt2")
def last_norm_left_behind(program: Program) -> None:
    """When tokens are chosen before the last norm, the norm is not done again for them."""
    graph = program.graphs["prefill"]
    bypass(graph, the(graph, ops.layer_norm, "ln_f"))


@after("split-context", "translator")
def contexts_exchanged(program: Program) -> None:
    """A layer of the decoder attends to the keys that were made for another."""
    graph = program.graphs["forward"]
    uses_exchanged(graph, graph.input("context.0"), graph.input("context.2"))


@after("split-context", "translator")
def context_taken_before_its_last_norm(program: Program) -> None:
    """The context is cut off the encoder before its last norm."""
    graph = program.graphs["encode"]
    norm = list(every(graph, ops.mul, "encoder.final_layer_norm"))
    bypass(graph, next(o for o in norm if o.inputs[1].defined_by(ops.rsqrt)))


@after("raise-recurrence", "hybrid")
def window_of_convolution_reversed(program: Program) -> None:
    """The convolution's window is turned round."""
    graph = program.graphs["forward"]
    op = the(graph, ops.causal_conv)
    rebuilt(graph, op, {"weight": picked(program, graph, op.required("weight"), [3, 2, 1, 0], 2)})


@after("pack-projections", "half", harmless=True)
def packed_the_other_way_round(program: Program) -> None:
    """Up is packed before gate, and both are taken apart accordingly."""
    graph = program.graphs["prefill"]
    op = the(graph, ops.split, "layers.1.mlp")
    linear = op.inputs[0].owner
    assert linear is not None
    weight = linear.required("weight").weight
    assert weight is not None
    packed = weight.expression
    assert isinstance(packed, Applied)
    turned = Applied.of(ops.concat, packed.operands[::-1], {"axis": 0})
    rebuilt(graph, linear, {"weight": graph.weight(program.add_weight(weight.name, turned))})
    uses_exchanged(graph, op.results[0], op.results[1])


FAULTS = faults_of(globals())
