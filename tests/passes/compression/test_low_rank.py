"""Low rank as a pass: one layer becomes two, by the factors that lose least of its output, where that saves bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from graphwright.ir import PassError, Program, parse_program, print_graph, print_program
from graphwright.ir.pricing import graph_cost
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.compression.low_rank import factors
from graphwright.passes.compression.moments import lower_factor
from tests.passes.compression.model import language_model, logits, token_file, tokens_in
from tests.tensors import norm

THIN = """graph decode(%input_ids: i64[B, 1]) {
  %0 = embedding(@table, %input_ids) : f32[B, 1, 8]
  %1 = linear(%0, @up.down) : f32[B, 1, 4]  at model.up
  %2 = linear(%1, @up.up, bias=@bias) : f32[B, 1, 20]  at model.up
  %3 = activation(%2) {kind="silu"} : f32[B, 1, 20]
  %4 = linear(%3, @down.down) : f32[B, 1, 4]  at model.down
  %5 = linear(%4, @down.up) : f32[B, 1, 8]  at model.down
  %6 = add(%0, %5) : f32[B, 1, 8]
  %7 = linear(%6, @table) : f32[B, 1, 40]  at head
  return logits=%7
}"""


def weight_bits(program: Program) -> int:
    return sum(work.weight_bits for work in graph_cost(program.graphs["decode"]).at({"B": 1}))


@pytest.mark.parametrize("options", ["rank=4", "ratio=0.75"])
def test_a_layer_becomes_two_in_all_graphs_and_costs_less(tmp_path: Path, options: str) -> None:
    before, after = language_model(), language_model()
    tokens = token_file(tmp_path)
    (record,) = run_passes(after, parse_passes(f"low-rank{{{options}, tokens={tokens}}}")).records
    assert record.lossy
    assert record.hits == {"low-rank": 2}
    assert print_graph(after.graphs["decode"]).strip() == THIN
    text = print_program(after)
    assert "weight @up.down : f32[4, 8]" in text
    assert "weight @up.up : f32[20, 4]" in text
    assert print_program(parse_program(text)) == text
    saved = 2 * (8 * 20 - 4 * (8 + 20)) * 32
    assert weight_bits(before) - weight_bits(after) == saved
    ids = tokens_in(tokens)
    assert torch.equal(logits(after, ids)[:, :1], logits(after, ids[:, :1], "decode"))
    assert 0 < norm(logits(after, ids) - logits(before, ids)) < norm(logits(before, ids))


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_the_error_of_the_output_is_the_least_there_is(rank: int) -> None:
    """By Eckart and Young, no product of that rank comes nearer to W L than the singular values that are cut off."""
    generator = torch.Generator().manual_seed(rank)
    weight = torch.randn(9, 12, generator=generator, dtype=torch.float64)
    inputs = torch.randn(50, 12, generator=generator, dtype=torch.float64) * torch.logspace(0, -2, 12)
    moment = inputs.T @ inputs
    lower = lower_factor(moment)
    down, up = factors(weight, moment, rank)
    assert down.shape == (rank, 12)
    assert up.shape == (9, rank)
    least = norm(torch.svd(weight @ lower).S[rank:])
    torch.testing.assert_close(norm((weight - up @ down) @ lower), least)
    plain_down, plain_up = factors(weight, None, rank)
    torch.testing.assert_close(norm(weight - plain_up @ plain_down), norm(torch.svd(weight).S[rank:]))
    assert norm((weight - plain_up @ plain_down) @ lower) > least


def test_plain_needs_no_tokens_and_the_head_is_a_layer() -> None:
    after = language_model()
    (record,) = run_passes(after, parse_passes("low-rank{ratio=0.5, method=plain, layers=all}")).records
    assert record.hits == {"low-rank": 3}
    assert {"table", "table.down", "table.up"} <= set(after.weights)


def test_where_it_saves_nothing_a_layer_is_left_alone() -> None:
    """[20, 8] and [8, 20] take fewer bytes as two up to rank 5, [40, 8] up to rank 6."""
    after = language_model()
    (record,) = run_passes(after, parse_passes("low-rank{rank=6, method=plain, layers=all}")).records
    assert record.hits == {"low-rank": 1}
    assert [str(miss) for miss in record.near_misses] == [
        "low-rank at model.up: rank 6 of weight 'up' [20, 8]: ranks 1 to 5 save bytes",
        "low-rank at model.down: rank 6 of weight 'down' [8, 20]: ranks 1 to 5 save bytes",
    ]
    assert {"up", "down", "table.down", "table.up"} <= set(after.weights)


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("rank=7, method=plain, layers=all", "low-rank: rank=7 saves bytes in no weight; ranks up to 6 do in some"),
        ("ratio=0.01, method=plain", "low-rank: ratio=0.01 saves bytes in no weight; ranks up to 5 do in some"),
        ("ratio=1.0, method=plain", "low-rank: ratio=1.0 saves nothing: give a positive rank, or a ratio between"),
        ("rank=-1, method=plain", "low-rank: rank=-1 saves nothing: give a positive rank"),
        ("method=plain", "low-rank: give rank=NUMBER or ratio=PART of each weight's bytes, one of them"),
        ("rank=2, ratio=0.5", "low-rank: give rank=NUMBER or ratio=PART"),
        ("rank=2", "this pass needs calibration tokens: give tokens=FILE.npy"),
    ],
)
def test_what_is_refused(options: str, wanted: str) -> None:
    program = language_model()
    text = print_program(program)
    with pytest.raises(PassError, match=f"^{wanted}"):
        run_passes(program, parse_passes(f"low-rank{{{options}}}"))
    assert print_program(program) == text
