"""Attention of few and of many queries against the IR's reference in float64, with every operand and attribute."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from graphwright.backends.tvm.cpu import AVX2, GENERIC, host_cpu
from graphwright.backends.tvm.kernels.attention import attention
from graphwright.backends.tvm.kernels.attention_form import AttentionForm
from graphwright.ir import ops
from tests.backends.tvm.kernels.standalone import call, compiled, run, written

EPS = float(np.finfo(np.float32).eps)
BASE = AttentionForm(heads=6, kv_heads=2, head_size=20, value_size=12, scale=0.3, mask="causal")
CASES = {
    # The form, queries, keys.
    "ragged": (replace(BASE, key_length=True), 5, 40),
    "sliding": (replace(BASE, mask="sliding", window=13, softcap=2.0, sinks=True), 70, 150),
    "chunked": (replace(BASE, mask="chunked", window=32, key_length=True, merged=False), 3, 150),
    "prefix": (replace(BASE, mask="prefix", window=9, bias="float32", bias_ones=(True, False, False, False)), 20, 40),
    "hidden": (replace(BASE, mask="full", bias="bool", bias_ones=(False, True, True, False), sinks=True), 1, 70),
    "ring": (replace(BASE, mask="sliding", window=30, key_positions=True), 2, 40),
    "codes": (replace(BASE, key_length=True, key_scale="channel", value_scale="token"), 2, 200),
    "tokens": (replace(BASE, key_scale="token", value_scale="channel"), 30, 60),
    "halves": (replace(BASE, key_length=True, key_numbers="float16", value_numbers="float16"), 1, 200),
    "many halves": (replace(BASE, head_size=32, key_numbers="float16", value_numbers="float16"), 30, 90),
    "nibbles": (
        replace(BASE, key_length=True, key_scale="channel", value_scale="token", key_bits=4, value_bits=4),
        *(2, 200),
    ),
    "many nibbles": (replace(BASE, key_scale="tensor", value_scale="channel", key_bits=4, value_bits=4), 30, 60),
    "one scale": (replace(BASE, key_scale="tensor", value_scale="tensor", shared_positions=True), 1, 200),
}


def operands(form: AttentionForm, sequence: int, capacity: int) -> dict[str, Any]:
    random = np.random.default_rng(0)
    batch = 1 if form.shared_positions else 2
    cache = (batch, form.kv_heads, capacity)

    def cached(size: int, share: Any, numbers: str, bits: int) -> Any:
        if share is None:
            return random.standard_normal((*cache, size)).astype(numbers)
        if bits == 4:
            return random.integers(0, 256, (*cache, size // 2)).astype(np.uint8)
        return random.integers(-127, 128, (*cache, size)).astype(np.int8)

    def scale(size: int, share: Any) -> Any:
        shape = {"tensor": (1,), "channel": (form.kv_heads, size), "token": cache}.get(share)
        return None if shape is None else random.uniform(0.005, 0.015, shape).astype(np.float32)

    past = np.array([capacity - sequence, min(3, capacity - sequence)])[:batch]
    found: dict[str, Any] = {
        "q": random.standard_normal((batch, form.heads, sequence, form.head_size)).astype(np.float32),
        "k": cached(form.head_size, form.key_scale, form.key_numbers, form.key_bits),
        "v": cached(form.value_size, form.value_scale, form.value_numbers, form.value_bits),
        "positions": past[:, None] + np.arange(sequence),
        "key_length": past + sequence if form.key_length else None,
        "bias": None,
        "sinks": random.standard_normal(form.heads).astype(np.float32) if form.sinks else None,
        "key_positions": None,
        "key_scale": scale(form.head_size, form.key_scale),
        "value_scale": scale(form.value_size, form.value_scale),
    }
    if form.key_positions:
        found["positions"] = np.array([[55, 56], [4, 5]])
        found["key_positions"] = ops.ring_positions.evaluate([torch.tensor([57, 6])], {"capacity": capacity}).numpy()
    if form.bias:
        whole = (batch, form.heads, sequence, capacity)
        bias = random.standard_normal([1 if one else n for one, n in zip(form.bias_ones, whole, strict=True)])
        found["bias"] = bias > 0 if form.bias == "bool" else bias.astype(np.float32)
    return found


def spoil(given: dict[str, Any], form: AttentionForm) -> None:
    """Garbage where no query may look."""
    for name, share in (("k", form.key_scale), ("v", form.value_scale)):
        if share is None and form.key_length:
            for row, length in zip(given[name], given["key_length"], strict=True):
                row[:, length:] = np.nan
        elif share is None and form.key_positions:
            given[name][np.broadcast_to((given["key_positions"] < 0)[:, None], given[name].shape[:3])] = np.nan
        elif share is None and form.bias == "bool":
            given[name][np.broadcast_to(~given["bias"][:, 0, 0][:, None], given[name].shape[:3])] = np.inf


def codes_of(held: Any) -> Any:
    """Of caches of two codes in a byte, the codes."""
    return np.concatenate([held & 15, held >> 4], -1).astype(np.int8) - 8 if held.dtype == np.uint8 else held


def expected(form: AttentionForm, given: dict[str, Any]) -> Any:
    def floats(name: str, share: Any) -> Any:
        if share is None:
            return torch.as_tensor(given[name]).double()
        scale = torch.as_tensor(given[{"k": "key_scale", "v": "value_scale"}[name]]).double()
        over = {"tensor": scale, "channel": scale[None, :, None], "token": scale[..., None]}[share]
        return torch.as_tensor(codes_of(given[name])).double() * over

    def wide(name: str) -> Any:
        x = None if given[name] is None else torch.as_tensor(given[name])
        return x.double() if x is not None and x.is_floating_point() else x

    values = [wide("q"), floats("k", form.key_scale), floats("v", form.value_scale), wide("positions")]
    rest = [wide(name) for name in ("key_length", "bias", "sinks", "key_positions")]
    attributes = {"scale": form.scale, "mask": form.mask, "window": form.window, "softcap": form.softcap}
    result = ops.attention.evaluate([*values, *rest], attributes).numpy()
    return result.transpose(0, 2, 1, 3).reshape(*result.shape[::2][:1], result.shape[2], -1) if form.merged else result


def check(cpu: Any, form: AttentionForm, given: dict[str, Any], queries: int | None) -> None:
    exact = expected(form, given)
    arrays = [x for x in given.values() if x is not None]
    found = call(
        written("attention", attention, cpu, form, queries=queries), cpu, *arrays, np.zeros(exact.shape, np.float32)
    )[-1]
    # Scores are sums of head_size products, softened within their error; the values' weighted mean adds its own.
    values = np.abs(np.nan_to_num(codes_of(given["v"]).astype(np.float64), posinf=0)).max()
    size = values * (1 if form.value_scale is None else 0.015)
    keys = np.abs(np.nan_to_num(codes_of(given["k"]).astype(np.float64), posinf=0)).max()
    score = form.scale * form.head_size * np.abs(given["q"]).max() * keys * (1 if form.key_scale is None else 0.015)
    np.testing.assert_allclose(found, exact, rtol=0, atol=EPS * size * (2 * score + 16))


@pytest.mark.parametrize("case", CASES)
def test_attention_is_that_of_the_ir(case: str) -> None:
    form, sequence, capacity = CASES[case]
    given = operands(form, sequence, capacity)
    spoil(given, form)
    check(host_cpu(), form, given, sequence if sequence <= 8 else None)


@pytest.mark.parametrize("cpu", [GENERIC, AVX2], ids=lambda cpu: cpu.name)
@pytest.mark.parametrize("queries", [1, None], ids=["decode", "prefill"])
def test_other_processors(cpu: Any, queries: int | None) -> None:
    form = replace(BASE, key_length=True, head_size=8, value_size=16)
    given = operands(form, queries or 21, 150)
    spoil(given, form)
    check(cpu, form, given, queries)


@pytest.mark.parametrize("factor", [0.0, 1e-38, 1e-30, 30.0])
@pytest.mark.parametrize("case", ["codes", "tokens", "one scale"])
def test_queries_of_any_size_meet_codes(case: str, factor: float) -> None:
    """Where they become bytes, each in units of its own."""
    form, sequence, capacity = CASES[case]
    given = operands(form, sequence, capacity)
    given["q"][:, 1::2] *= np.float32(factor)
    check(host_cpu(), form, given, sequence if sequence <= 8 else None)


@pytest.mark.parametrize("where", ["query", "key"])
@pytest.mark.parametrize("case", ["ragged", "codes", "tokens", "halves"])
def test_what_is_no_number_and_is_seen_makes_rows_none_and_no_others(case: str, where: str) -> None:
    form, sequence, capacity = CASES[case]
    given = operands(form, sequence, capacity)
    queries = sequence if sequence <= 8 else None
    kernel = written("attention", attention, host_cpu(), form, queries=queries)

    def result() -> Any:
        shape = np.zeros(expected(form, given).shape, np.float32)
        return call(kernel, host_cpu(), *(x for x in given.values() if x is not None), shape)[-1]

    before = result()
    if where == "query":
        given["q"][1, 0, 0, 3] = np.nan
    else:
        given["k" if form.key_scale is None else "key_scale"].reshape(-1)[5] = np.nan
    none = np.isnan(expected(form, given))
    assert none.any()
    assert not none.all()
    after = result()
    np.testing.assert_array_equal(np.isnan(after), none)
    np.testing.assert_array_equal(after[~none], before[~none])


def test_garbage_between_seen_keys_does_not_leak_and_seen_garbage_does() -> None:
    form = replace(BASE, mask="full", bias="bool", bias_ones=(False, True, False, False))
    given = operands(form, 2, 40)
    given["bias"][:, :, 0, 7] = False
    given["bias"][:, :, 1, 7] = True
    given["bias"][1, :, 0] = False
    given["v"][:, :, 7] = np.nan
    kernel = written("attention", attention, host_cpu(), form, queries=2)
    y = np.zeros((2, 2, 72), np.float32)
    found = call(kernel, host_cpu(), *[x for x in given.values() if x is not None], y)[-1]
    assert np.isnan(found[:, 1]).all()
    np.testing.assert_allclose(found[0, 0], expected(form, given)[0, 0], rtol=0, atol=64 * EPS)
    assert (found[1, 0] == 0).all()


@pytest.mark.parametrize("case", ["3 heads", "7 heads", "3 heads, halves", "7 heads, codes", "3 heads, nibbles"])
def test_a_row_has_the_same_bits_alone_and_among_many(case: str) -> None:
    form = {
        "3 heads": replace(BASE, softcap=2.0),
        "7 heads": replace(BASE, heads=7, kv_heads=1, head_size=32, mask="sliding", window=90),
        "3 heads, halves": replace(BASE, key_numbers="float16", value_numbers="float16"),
        "7 heads, codes": replace(BASE, heads=7, kv_heads=1, head_size=32, key_scale="channel", value_scale="token"),
        "3 heads, nibbles": replace(
            BASE, head_size=32, key_scale="tensor", value_scale="channel", key_bits=4, value_bits=4
        ),
    }[case]
    many = operands(form, 150, 150)
    many["positions"][:] = np.arange(150)
    arrays = [x for x in many.values() if x is not None]
    whole = np.zeros((2, 150, form.heads * form.value_size), np.float32)
    whole = call(written("attention", attention, host_cpu(), form, queries=None), host_cpu(), *arrays, whole)[-1]
    for queries in (1, 3):
        kernel = compiled(written("attention", attention, host_cpu(), form, queries=queries), host_cpu())
        for first in (0, 13, 63, 64, 100, 147):
            few = {**many, "q": np.ascontiguousarray(many["q"][:, :, first : first + queries])}
            few["positions"] = np.ascontiguousarray(many["positions"][:, first : first + queries])
            arrays = [x for x in few.values() if x is not None]
            found = np.zeros((2, queries, form.heads * form.value_size), np.float32)
            found = run(kernel, *arrays, found)[-1]
            np.testing.assert_array_equal(found.view(np.int32), whole[:, first : first + queries].view(np.int32))
