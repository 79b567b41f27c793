"""Caches of codes: the graph before and after, what is left alone, bad input, and how steps go on from each other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted
from graphwright.ir import PassError, Program, parse_program, print_graph, print_program
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.proving import InterpreterProver
from graphwright.passes.quantization import QuantizeCache
from tests.passes.graphs import program
from tests.passes.kv_cache.test_insert_kv_cache import model
from tests.passes.kv_cache.test_ring_caches import BEGIN, END, FIRST, PROJECTED, SLIDING, WEIGHTS

SPECS = ("bits=8, keys=tensor, values=tensor", "bits=8", "bits=8, values=token", "bits=4", "bits=4, values=token")


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.npy"
    np.save(path, np.random.default_rng(0).integers(0, 16, (9, 23)))
    return path


def cached(before: Program, layout: str = "contiguous") -> Program:
    run_passes(before, parse_passes(f"insert-kv-cache{{layout={layout}}}, specialize"))
    return before


def ringed() -> Program:
    return cached(
        program(BEGIN + PROJECTED + FIRST.format(mask=SLIDING, bias="") + END.replace("%n", "%x"), WEIGHTS), "ring"
    )


def quantized(before: Program, spec: str, tokens: Path) -> Program:
    after = before.clone()
    (record,) = run_passes(after, parse_passes(f"quantize-cache{{{spec}, tokens={tokens}}}")).records
    assert record.lossy
    assert record.hits == {"quantize-cache": 4}
    assert not record.near_misses
    assert print_program(parse_program(print_program(after))) == print_program(after)
    return after


def lines(after: Program, *words: str) -> list[str]:
    text = print_graph(after.graphs["prefill"]).splitlines()
    return [line.split("  at ")[0].strip() for line in text if any(f"= {word}(" in line for word in words)]


CODES = ("quantize_tensor", "kv_append", "kv_read", "dequantize_tensor", "attention", "concat", "amax")


def test_the_graph_of_fitted_scales(tokens: Path) -> None:
    after = quantized(cached(model()), "bits=4, keys=channel, values=tensor", tokens)
    assert lines(after, *CODES) == [
        "%15 = quantize_tensor(%14, @cache.0.key.scale) {to=i4} : i4[B, 1, S, 4]",
        "%16 = kv_append(%past.0.key, %15, %past_length) : state<contiguous i4[B, 1, C, 4]>",
        "%17 = quantize_tensor(%12, @cache.0.value.scale) {to=i4} : i4[B, 1, S, 4]",
        "%18 = kv_append(%past.0.value, %17, %past_length) : state<contiguous i4[B, 1, C, 4]>",
        "%19 = kv_read(%16) : i4[B, 1, C, 4]",
        "%20 = dequantize_tensor(%19, @cache.0.key.scale) : f32[B, 1, C, 4]",
        "%21 = kv_read(%18) : i4[B, 1, C, 4]",
        "%22 = dequantize_tensor(%21, @cache.0.value.scale) : f32[B, 1, C, 4]",
        '%23 = attention(%13, %20, %22, %3, key_length=%0) {scale=0.7, mask="causal"} : f32[B, 2, S, 4]',
    ]
    assert str(after.weights["cache.0.key.scale"].type) == "f32[1, 1, 1, 4]"
    assert str(after.weights["cache.0.value.scale"].type) == "f32[]"


def test_the_graph_of_a_ring_and_of_scales_by_token(tokens: Path) -> None:
    after = quantized(ringed(), "values=token", tokens)
    types = {str(v.name): str(v.type) for v in after.graphs["decode"].inputs if str(v.name).startswith("past.")}
    assert types == {
        "past.0.key": "state<ring i8[B, 1, 3, 4]>",
        "past.0.value": "state<ring i8[B, 1, 3, 4]>",
        "past.0.value_scale": "state<ring f32[B, 1, 3, 1]>",
    }
    assert lines(after, *CODES) == [
        "%10 = quantize_tensor(%8, @cache.0.key.scale) {to=i8} : i8[B, 1, S, 4]",
        "%11 = kv_read(%past.0.key) : i8[B, 1, 3, 4]",
        "%12 = concat(%11, %10) {axis=2} : i8[B, 1, S+3, 4]",
        "%13 = dequantize_tensor(%12, @cache.0.key.scale) : f32[B, 1, S+3, 4]",
        "%14 = kv_append(%past.0.key, %10, %past_length, new_length=%new_length) : state<ring i8[B, 1, 3, 4]>",
        "%16 = amax(%15) {axes=[3], keepdims=true} : f32[B, 1, S, 1]",
        "%21 = quantize_tensor(%9, %20) {to=i8} : i8[B, 1, S, 4]",
        "%22 = kv_read(%past.0.value) : i8[B, 1, 3, 4]",
        "%23 = concat(%22, %21) {axis=2} : i8[B, 1, S+3, 4]",
        "%24 = kv_read(%past.0.value_scale) : f32[B, 1, 3, 1]",
        "%25 = concat(%24, %20) {axis=2} : f32[B, 1, S+3, 1]",
        "%26 = dequantize_tensor(%23, %25) : f32[B, 1, S+3, 4]",
        "%27 = kv_append(%past.0.value, %21, %past_length, new_length=%new_length) : state<ring i8[B, 1, 3, 4]>",
        "%28 = kv_append(%past.0.value_scale, %20, %past_length, new_length=%new_length) : state<ring f32[B, 1, 3, 1]>",
        "%30 = concat(%29, %2) {axis=1} : i64[B, S+3]",
        '%31 = attention(%7, %13, %26, %2, key_positions=%30) {scale=0.7, mask="sliding", window=4} : f32[B, 2, S, 4]',
    ]


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("make", [lambda: cached(model()), ringed], ids=["contiguous", "ring"])
def test_rows_go_on_as_if_in_one_piece(make: Callable[[], Program], spec: str, tokens: Path) -> None:
    before = make()
    after = quantized(before, spec, tokens)
    rows = [torch.randint(0, 16, (n,), generator=torch.Generator().manual_seed(n)) for n in (23, 17, 4)]
    whole, floats = (
        [continued_logits(interpreted(each), [row], [len(row)], 24)[0] for row in rows] for each in (after, before)
    )
    for chunks in ([9, 1, 12, 1, 1], [4, 1, 2, 1, 1, 3, 11], [1] * 23):
        for wanted, found in zip(whole, continued_logits(interpreted(after), rows, chunks, 44), strict=True):
            # float32 sums in another order; a number near a tie could move by a whole step, which none here does
            torch.testing.assert_close(found, wanted[: len(found)], rtol=1e-5, atol=1e-5)
    error = max(float((a - b).abs().max()) for a, b in zip(whole, floats, strict=True))
    assert 0 < error < max(float(x.abs().max()) for x in floats) * (0.05 if "8" in spec else 0.6)


def test_scales_fit_the_largest_number(tokens: Path) -> None:
    before = cached(model())
    after = quantized(before, "bits=8, keys=channel, values=tensor", tokens)
    (report,) = run_passes(before.clone(), [QuantizeCache(tokens=str(tokens))], prover=InterpreterProver()).records
    assert report.proof is not None
    key, value = (after.weights[f"cache.0.{n}.scale"].evaluate() for n in ("key", "value"))
    ids = torch.as_tensor(np.load(tokens))
    table, weight = (before.weights[n].evaluate() for n in ("table", "v"))
    assert float(value) == pytest.approx(float((table[ids.flatten()] @ weight.T).abs().max()) / 127, rel=1e-6)
    assert key.shape == (1, 1, 1, 4)
    assert (key > 0).all()


RECURRENT = """
program "recurrent"
graph prefill(%input_ids: i64[B, S], %new_length: i64[B], %past.0.state: state<recurrent f32[B]>) {
  %x = cast(%input_ids) {dtype=f32} : f32[B, S]
  %y, %s = running_sum(%x, state=%past.0.state, new_length=%new_length) {axis=1}
    : f32[B, S], state<recurrent f32[B]>  at model.mix
  %logits = reshape(%y) {shape=[B, S, 1]} : f32[B, S, 1]
  return logits=%logits, present.0.state=%s
}
"""


def test_bad_input(tokens: Path, tmp_path: Path) -> None:
    for text, reason in (
        (f"bits=5, tokens={tokens}", "option bits=5 is not one of 8, 4"),
        (f"keys=token, tokens={tokens}", "option keys=token is not one of 'tensor', 'channel'"),
    ):
        with pytest.raises(PassError, match=reason):
            parse_passes(f"quantize-cache{{{text}}}")
    with pytest.raises(PassError, match=r"needs calibration tokens: give tokens=FILE\.npy"):
        run_passes(cached(model()), [QuantizeCache()])
    with pytest.raises(PassError, match="cannot be read as an array of tokens"):
        run_passes(cached(model()), [QuantizeCache(tokens=str(tmp_path / "none.npy"))])
    with pytest.raises(PassError, match="run insert-kv-cache first"):
        run_passes(model(), [QuantizeCache(tokens=str(tokens))])
    reason = r"has no cache that quantize-cache could take: 'past\.0\.state' is a recurrent state"
    with pytest.raises(PassError, match=reason):
        run_passes(parse_program(RECURRENT), [QuantizeCache(tokens=str(tokens))])
    after = cached(model())
    run_passes(after, [QuantizeCache(tokens=str(tokens))])
    with pytest.raises(PassError, match="it keeps none of floats"):
        run_passes(after, [QuantizeCache(tokens=str(tokens))])


def test_keys_that_are_values_too_stay_floats(tokens: Path) -> None:
    shared = model()
    attention = next(op for op in shared.graphs["forward"] if op.name == "attention")
    shared.graphs["forward"].set_operand(attention, 2, attention.required("k"))
    with pytest.raises(PassError, match="stays as it is: keys and values both are made from it"):
        run_passes(cached(shared), [QuantizeCache(tokens=str(tokens))])
