"""Prices of programs: phases, sizes, times, against sums done by hand."""

from __future__ import annotations

import pytest

from graphwright.ir import DType, Program, parse_program
from graphwright.ir.machines import MACHINES, Machine
from graphwright.reporting.pipeline_report import Kind, MemoryPoint, Price, Workload
from graphwright.reporting.pricing import kinds, machine_row, memory_points, price_program

HEAD = """program "tiny" {context_length=100}
weight @table : f32[8, 4] = file("w.safetensors", "table") : f32[8, 4]
weight @head : f32[8, 4] = file("w.safetensors", "head") : f32[8, 4]
"""
FORWARD = """graph forward(%input_ids: i64[B, S]) {
  %0 = embedding(@table, %input_ids) : f32[B, S, 4]
  %1 = linear(%0, @head) : f32[B, S, 8]
  return logits=%1
}
"""
CACHED = """graph NAME(%input_ids: i64[B, S], %past_length: i64[B], %past.0.key: state<contiguous f32[B, 1, C, 4]>) {
  %0 = embedding(@table, %input_ids) : f32[B, S, 4]
  %1 = reshape(%0) {shape=[B, 1, S, 4]} : f32[B, 1, S, 4]
  %2 = kv_append(%past.0.key, %1, %past_length) : state<contiguous f32[B, 1, C, 4]>
  %3 = kv_read(%2) : f32[B, 1, C, 4]
  %4 = sum(%3) {axes=[2], keepdims=false} : f32[B, 1, 4]
  %5 = linear(%4, @head) : f32[B, 1, 8]
  return logits=%5, present.0.key=%2
}
"""
WORKLOAD = Workload(batch=2, prefill_length=3, decode_context=10)
TOY = Machine("toy", {DType.F32: 1000.0}, 1000.0, 0.25, "made up")


def program(*graphs: str) -> Program:
    return parse_program(HEAD + "".join(graphs))


def test_a_language_model_without_a_cache_computes_its_context_again_for_each_token() -> None:
    prices = price_program(program(FORWARD), WORKLOAD, TOY)
    # Six tokens: the embedding moves 240 bytes in its launch's time, linear moves 416.
    assert prices["prefill"].seconds == pytest.approx(0.25 + 0.416)
    assert prices["prefill"] == Price(
        flops=6 * 2 * 4 * 8,
        weight_bytes=6 * 16 + 128,
        activation_bytes=6 * (8 + 16) + 6 * (16 + 32),
        cache_bytes=0,
        launches=2,
        peak_bytes=2 * 128 + 6 * (8 + 16 + 32),
        seconds=prices["prefill"].seconds,
        limit="memory",
    )
    # Twenty: the embedding moves 800 bytes, linear computes 1280 FLOPs.
    assert prices["decode"].flops == 20 * 2 * 4 * 8
    assert prices["decode"].seconds == pytest.approx(0.8 + 1.28)
    assert prices["decode"].limit == "compute"


@pytest.mark.parametrize("apart", [False, True])
def test_decode_takes_one_token_over_a_cache(apart: bool) -> None:
    prefill, decode = CACHED.replace("NAME", "prefill"), CACHED.replace("NAME", "decode").replace("S", "1")
    prices = price_program(program(prefill, *([decode] if apart else [])), WORKLOAD, None)
    assert prices["decode"] == Price(
        flops=2 * 10 * 4 + 2 * 2 * 4 * 8,
        weight_bytes=2 * 16 + 128,
        activation_bytes=2 * (8 + 16) + 2 * (16 + 8) + 2 * 16 + 2 * (16 + 32),
        cache_bytes=2 * 16 + 2 * 10 * 16,
        launches=4,
        peak_bytes=2 * 128 + 2 * 10 * 16 + 2 * (8 + 8) + 2 * (16 + 32),
        seconds=None,
        limit=None,
    )
    assert prices["prefill"].cache_bytes == 6 * 16 + 6 * 16


def test_a_plain_function_has_one_phase_and_any_symbol_is_a_length() -> None:
    text = FORWARD.replace("input_ids", "codes").replace("S", "frames")
    prices = price_program(program(text), WORKLOAD, None)
    assert list(prices) == ["forward"]
    assert prices["forward"].flops == 6 * 2 * 4 * 8


def test_a_context_is_encoded_in_prefill_and_read_in_decode() -> None:
    encode = """graph encode(%ids: i64[B, S]) {
      %0 = embedding(@table, %ids) : f32[B, S, 4]
      return context.0=%0
    }
    """
    forward = """graph forward(%input_ids: i64[B, S], %context.0: f32[B, T, 4]) {
      %0 = embedding(@table, %input_ids) : f32[B, S, 4]
      %1 = concat(%0, %context.0) {axis=1} : f32[B, S+T, 4]
      %2 = linear(%1, @head) : f32[B, S+T, 8]
      return logits=%2
    }
    """
    prices = price_program(program(encode, forward), WORKLOAD, None)
    assert prices["prefill"].flops == 2 * (3 + 3) * 64
    assert prices["prefill"].launches == 4
    assert prices["decode"].flops == 2 * (10 + 3) * 64
    whole = """graph forward(%input_ids: i64[B, S], %decoder_input_ids: i64[B, T]) {
      %0 = embedding(@table, %input_ids) : f32[B, S, 4]
      %1 = embedding(@table, %decoder_input_ids) : f32[B, T, 4]
      %2 = concat(%1, %0) {axis=1} : f32[B, T+S, 4]
      %3 = linear(%2, @head) : f32[B, T+S, 8]
      return logits=%3
    }
    """
    prices = price_program(program(whole), WORKLOAD, None)
    assert [p.flops for p in prices.values()] == [2 * (3 + 3) * 64, 2 * (10 + 3) * 64]


def test_kinds_add_up_to_the_phase_and_leave_views_out() -> None:
    it = program(CACHED.replace("NAME", "prefill"))
    rows = kinds(it, WORKLOAD, TOY)
    for phase, price in price_program(it, WORKLOAD, TOY).items():
        own = [row for row in rows if row.phase == phase]
        assert sorted(row.op for row in own) == ["embedding", "kv_append", "linear", "sum"]
        assert sum(row.flops for row in own) == price.flops
        assert sum(row.bytes for row in own) == price.weight_bytes + price.activation_bytes + price.cache_bytes
        assert sum(row.seconds or 0 for row in own) == pytest.approx(price.seconds)
        assert [row.seconds or 0 for row in own] == sorted((row.seconds or 0 for row in own), reverse=True)
    assert (
        Kind(phase="decode", op="sum", count=1, flops=80, bytes=352, launches=1, seconds=0.352, limit="memory") in rows
    )
    assert {row.seconds for row in kinds(it, WORKLOAD, None)} == {None}


def test_memory_by_part_and_context() -> None:
    it = program(CACHED.replace("NAME", "prefill"))
    assert memory_points(it, WORKLOAD, [4, 8]) == [
        MemoryPoint(context=n, weights=256, cache=2 * n * 16, activations=128) for n in (4, 8)
    ]
    function = program(FORWARD.replace("input_ids", "codes"))
    assert [p.activations for p in memory_points(function, WORKLOAD, [1, 2])] == [2 * 56, 4 * 56]


def test_a_machine_as_a_row() -> None:
    row = machine_row(MACHINES["h100"])
    assert (row.name, row.bytes_per_second, row.flops_per_second["bf16"]) == ("h100", 3.35e12, 989.4e12)
