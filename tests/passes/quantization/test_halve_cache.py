"""Caches of f16: the graph before and after, what is left alone, and how steps go on from each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted
from graphwright.ir import DType, PassError, Program, parse_program, print_program
from graphwright.passes import parse_passes, run_passes
from tests.passes.kv_cache.test_insert_kv_cache import model
from tests.passes.quantization.test_quantize_cache import cached, lines, ringed

EPS = 2.0**-11
"""Half a unit in the last place of f16, relative."""


def halved(before: Program) -> Program:
    after = before.clone()
    (record,) = run_passes(after, parse_passes("halve-cache")).records
    assert record.lossy
    assert record.hits == {"halve-cache": 4}
    assert not record.near_misses
    assert print_program(parse_program(print_program(after))) == print_program(after)
    return after


def test_the_graph_of_contiguous_caches() -> None:
    assert lines(halved(cached(model())), "cast", "kv_append", "kv_read", "attention") == [
        "%15 = cast(%14) {dtype=f16} : f16[B, 1, S, 4]",
        "%16 = kv_append(%past.0.key, %15, %past_length) : state<contiguous f16[B, 1, C, 4]>",
        "%17 = cast(%12) {dtype=f16} : f16[B, 1, S, 4]",
        "%18 = kv_append(%past.0.value, %17, %past_length) : state<contiguous f16[B, 1, C, 4]>",
        "%19 = kv_read(%16) : f16[B, 1, C, 4]",
        "%20 = cast(%19) {dtype=f32} : f32[B, 1, C, 4]",
        "%21 = kv_read(%18) : f16[B, 1, C, 4]",
        "%22 = cast(%21) {dtype=f32} : f32[B, 1, C, 4]",
        '%23 = attention(%13, %20, %22, %3, key_length=%0) {scale=0.7, mask="causal"} : f32[B, 2, S, 4]',
    ]


def test_the_graph_of_a_ring() -> None:
    assert lines(halved(ringed()), "cast", "kv_append", "kv_read", "concat", "attention") == [
        "%10 = cast(%8) {dtype=f16} : f16[B, 1, S, 4]",
        "%11 = kv_read(%past.0.key) : f16[B, 1, 3, 4]",
        "%12 = concat(%11, %10) {axis=2} : f16[B, 1, S+3, 4]",
        "%13 = cast(%12) {dtype=f32} : f32[B, 1, S+3, 4]",
        "%14 = kv_append(%past.0.key, %10, %past_length, new_length=%new_length) : state<ring f16[B, 1, 3, 4]>",
        "%15 = cast(%9) {dtype=f16} : f16[B, 1, S, 4]",
        "%16 = kv_read(%past.0.value) : f16[B, 1, 3, 4]",
        "%17 = concat(%16, %15) {axis=2} : f16[B, 1, S+3, 4]",
        "%18 = cast(%17) {dtype=f32} : f32[B, 1, S+3, 4]",
        "%19 = kv_append(%past.0.value, %15, %past_length, new_length=%new_length) : state<ring f16[B, 1, 3, 4]>",
        "%21 = concat(%20, %2) {axis=1} : i64[B, S+3]",
        '%22 = attention(%7, %13, %18, %2, key_positions=%21) {scale=0.7, mask="sliding", window=4} : f32[B, 2, S, 4]',
    ]


@pytest.mark.parametrize("make", [lambda: cached(model()), ringed], ids=["contiguous", "ring"])
def test_rows_go_on_as_if_in_one_piece(make: Callable[[], Program]) -> None:
    before = make()
    after = halved(before)
    rows = [torch.randint(0, 16, (n,), generator=torch.Generator().manual_seed(n)) for n in (23, 17, 4)]
    whole, floats = (
        [continued_logits(interpreted(each), [row], [len(row)], 24)[0] for row in rows] for each in (after, before)
    )
    for chunks in ([9, 1, 12, 1, 1], [1] * 23):
        for wanted, found in zip(whole, continued_logits(interpreted(after), rows, chunks, 44), strict=True):
            # Float32 sums in another order, by which a few numbers near a tie move by a whole step.
            torch.testing.assert_close(found, wanted[: len(found)], rtol=1e-5, atol=EPS / 8)
    error = max(float((a - b).abs().max()) for a, b in zip(whole, floats, strict=True))
    assert 0 < error < 16 * EPS * max(float(x.abs().max()) for x in floats)


def test_other_caches_are_left_and_a_program_without_any_is_refused() -> None:
    after = halved(cached(model()))
    with pytest.raises(PassError, match=r"no cache that halve-cache could take: 'past.0.key' holds f16, not f32"):
        run_passes(after, parse_passes("halve-cache"))
    assert {v.tensor.dtype for v in after.graphs["decode"].inputs if str(v.name).startswith("past.")} == {DType.F16}
