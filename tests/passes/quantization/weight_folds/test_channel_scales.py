"""Which scales can be moved, into which weights, and what stops them."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import Program, Value, parse_program, print_graph, verify
from graphwright.passes.quantization.weight_folds import Blocked, ChannelFolds, WeightChanges
from tests.passes.graphs import assert_same_values, random_weight
from tests.passes.quantization.weight_folds.block import block
from tests.tensors import listed


def x_of(program: Program, location: str, graph: str = "forward") -> Value:
    return next(op for op in program.graphs[graph] if op.location == location).required("x")


def values(program: Program) -> dict[str, torch.Tensor]:
    return {name: weight.evaluate() for name, weight in program.weights.items()}


def folded(program: Program, location: str, count: int) -> tuple[Program, torch.Tensor, set[str]]:
    """The float64 program after the fold at a layer, with random scales, and the names of the weights that changed."""
    after = program.clone()
    fold = ChannelFolds(after).of(x_of(after, location))
    assert fold.count == count
    scales = torch.rand(count, generator=torch.Generator().manual_seed(5), dtype=torch.float64) + 0.5
    changes = WeightChanges()
    fold.apply(changes, scales)
    changes.apply(after)
    verify(after)
    before = values(program)
    changed = {n for n, v in values(after).items() if n not in before or not torch.equal(v, before[n])}
    assert_same_values(program.graphs["forward"], after.graphs["forward"])
    return after, scales, changed


@pytest.mark.parametrize(
    ("location", "count", "changed"),
    [
        ("attention.qkv", 8, {"norm1", "qkv"}),
        # Two query heads share a head of values, so they share its two scales.
        ("attention.o", 4, {"qkv", "qkv_bias", "o"}),
        ("mlp.gate_up", 8, {"norm2", "gate_up"}),
        ("mlp.down", 6, {"gate_up", "down"}),
        # The embedding goes on reading the table as it was.
        ("head", 8, {"norm3", "table.folded"}),
    ],
)
def test_a_scale_is_taken_up_by_what_makes_a_value(location: str, count: int, changed: set[str]) -> None:
    program = block(dtype="f64")
    after, _, found = folded(program, location, count)
    assert found == changed
    renamed = print_graph(after.graphs["forward"]).replace("@table.folded", "@table")
    assert renamed == print_graph(program.graphs["forward"])


def test_rows_of_values_and_columns_behind_them_change_by_their_group() -> None:
    program = block(dtype="f64")
    after, scales, _ = folded(program, "attention.o", 4)
    before, found = values(program), values(after)
    assert torch.equal(found["qkv"][:12], before["qkv"][:12])
    torch.testing.assert_close(found["qkv"][12:], before["qkv"][12:] / scales[:, None])
    columns = scales.reshape(2, 1, 2).expand(2, 2, 2).flatten()
    torch.testing.assert_close(found["o"], before["o"] * columns)


def test_means_and_maxima_are_over_the_channels_of_one_scale() -> None:
    program = block()
    x = x_of(program, "attention.o")
    fold = ChannelFolds(program).of(x)
    magnitudes = torch.tensor([1.0, 2, 3, 4, 5, 6, 7, 8])
    assert listed(fold.gathered(magnitudes, x)) == [2, 3, 6, 7]
    assert listed(fold.largest(magnitudes, x)) == [3, 4, 7, 8]
    assert listed(fold.spread(torch.tensor([1.0, 2, 3, 4]), x)) == [1, 2, 1, 2, 3, 4, 3, 4]


def test_a_relu_passes_a_scale_and_a_gelu_does_not() -> None:
    relu = '%19 = activation(%18) {kind="relu"} : f32[B, S, 6]  at mlp.unit'
    assert folded(block(relu, dtype="f64"), "mlp.down", 6)[2] == {"gate_up", "down"}
    program = block(relu.replace("relu", "gelu"))
    with pytest.raises(Blocked, match=r"^it cannot pass activation \(gelu\) at mlp.unit$"):
        ChannelFolds(program).of(x_of(program, "mlp.down"))


def test_the_residual_stream_stops_a_scale() -> None:
    program = block(join="linear(%14, @o)")
    last = next(op for op in program.graphs["forward"].backwards() if op.name == "linear" and op.location == "block")
    with pytest.raises(Blocked, match=r"^it cannot pass add at block$"):
        ChannelFolds(program).of(last.required("x"))


def test_another_reader_stops_a_scale() -> None:
    program = block(join="mul(%15, %20)")
    with pytest.raises(Blocked, match=r"^mul at block reads it too$"):
        ChannelFolds(program).of(x_of(program, "mlp.gate_up"))


def test_an_output_stops_a_scale() -> None:
    program = block()
    graph = program.graphs["forward"]
    graph.outputs["unit"] = x_of(program, "mlp.down")
    with pytest.raises(Blocked, match=r"^it is an output of 'forward'$"):
        ChannelFolds(program).of(graph.outputs["unit"])


def test_a_fold_into_a_narrow_float_is_refused() -> None:
    program = block(dtype="bf16")
    with pytest.raises(
        Blocked, match=r"^the weight of rms_norm at norm1 is bf16, to which a fold would round: run conv"
    ):
        ChannelFolds(program).of(x_of(program, "attention.qkv"))


PHASE = """
graph {name}(
    %x: f64[B, {S}, 4], %past: state<contiguous f64[B, 2, C, 2]>, %length: i64[B],
    %q: f64[B, 2, {S}, 2], %keys: f64[B, 2, C, 2]) {{
  %0 = linear(%x, @v) : f64[B, {S}, 4]  at v
  %1 = split_heads(%0) {{heads=2}} : f64[B, 2, {S}, 2]
  %2 = kv_append(%past, %1, %length) : state<contiguous f64[B, 2, C, 2]>
  %3 = kv_read(%2) : f64[B, 2, C, 2]
  %4 = iota() {{size={S}, dtype=i64}} : i64[{S}]
  %5 = reshape(%4) {{shape=[1, {S}]}} : i64[1, {S}]
  %6 = attention(%q, {keys}, %2, %5) {{scale=1.0, mask="full"}} : f64[B, 2, {S}, 2]
  %7 = merge_heads(%6) : f64[B, {S}, 4]
  %8 = linear(%7, @o) : f64[B, {S}, 4]  at o
  return y=%8, present=%2
}}
"""


def phases(keys: str) -> Program:
    weights = "".join(random_weight(n, 4, 4) for n in ("v", "o", "other")).replace("f32", "f64")
    graphs = "".join(PHASE.format(name=n, S=s, keys=keys) for n, s in (("prefill", "S"), ("decode", "1")))
    return parse_program(f'program "p"\n{weights}{graphs}')


def test_a_scale_reaches_through_a_cache_and_into_every_phase() -> None:
    program = phases("%keys")
    fold = ChannelFolds(program).of(x_of(program, "o", "prefill"))
    assert fold.count == 4
    assert set(fold.inputs) == {x_of(program, "o", "prefill"), x_of(program, "o", "decode")}


def test_keys_in_the_same_cache_stop_it() -> None:
    program = phases("%3")
    with pytest.raises(Blocked, match=r"^attention reads it too$"):
        ChannelFolds(program).of(x_of(program, "o", "prefill"))
