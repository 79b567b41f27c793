"""Rotary embeddings and appends to caches, alone and in one pass, against the IR's reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from graphwright.backends.tvm.cpu import AVX2, GENERIC, host_cpu
from graphwright.backends.tvm.kernels.kv_append import kv_append
from graphwright.backends.tvm.kernels.rope import rope
from graphwright.backends.tvm.kernels.rotary_append import Packed, rotary_append
from graphwright.backends.tvm.kernels.rotary_table import rotary_table
from graphwright.ir import DType, ops
from tests.backends.tvm.kernels.standalone import call, written

EPS = float(np.finfo(np.float32).eps)
BATCH, SEQUENCE, HEADS, KV, SIZE, VALUE, PAIRS, CAPACITY = 2, 4, 6, 2, 20, 12, 8, 15
PACKED = Packed(200, 3, 128, 168)
SMALLEST = 2.0**-126


def tables(cpu: Any, positions: Any, frequencies: Any) -> tuple[Any, Any]:
    empty = np.zeros((*positions.shape, len(frequencies)), np.float32)
    kernel = written("rotary_table", rotary_table, cpu, tokens=None, pairs=len(frequencies))
    *_, cos, sin = call(kernel, cpu, positions, frequencies, empty, empty)
    return cos, sin


def evaluated(op: Any, *operands: Any, **attributes: Any) -> Any:
    return op.evaluate([torch.as_tensor(np.ascontiguousarray(x)) for x in operands], attributes).numpy()


@pytest.mark.parametrize("cpu", [GENERIC, AVX2, host_cpu()], ids=lambda cpu: cpu.name)
def test_tables_are_right_at_distant_positions(cpu: Any) -> None:
    positions = np.random.default_rng(0).integers(0, 131072, (2, 300))
    frequencies = (10000.0 ** -(np.arange(20) / 20)).astype(np.float32)
    cos, sin = tables(cpu, positions, frequencies)
    angle = (positions[..., None].astype(np.float32) * frequencies).astype(np.float64)
    np.testing.assert_allclose(cos, np.cos(angle), rtol=0, atol=EPS)
    np.testing.assert_allclose(sin, np.sin(angle), rtol=0, atol=EPS)


@pytest.mark.parametrize(("pairs", "interleaved", "rows"), [(32, False, BATCH), (10, True, 1), (3, False, 1)])
def test_rope(pairs: int, interleaved: bool, rows: int) -> None:
    cpu, random = host_cpu(), np.random.default_rng(0)
    x = random.standard_normal((BATCH, 3, SEQUENCE, 64)).astype(np.float32)
    positions = random.integers(0, 1000, (rows, SEQUENCE))
    frequencies = (10000.0 ** -(np.arange(pairs) / pairs)).astype(np.float32)
    kernel = written(
        "rotary_embedding",
        rope,
        cpu,
        tokens=8,
        heads=3,
        size=64,
        pairs=pairs,
        interleaved=interleaved,
        shared=rows == 1,
    )
    found = call(kernel, cpu, x, *tables(cpu, positions, frequencies), np.zeros_like(x))[-1]
    expected = evaluated(ops.rope, x, positions, frequencies, interleaved=interleaved, scale=1.0)
    # Two products and their sum, of cosines within a unit.
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * EPS * np.abs(x).max())


@pytest.mark.parametrize(("ring", "capacity"), [(False, 20), (True, 7), (True, 3)])
def test_appends_go_where_the_ir_says(ring: bool, capacity: int) -> None:
    cpu, random = host_cpu(), np.random.default_rng(0)
    new = random.standard_normal((2, 3, 5, SIZE)).astype(np.float32)
    cache = random.standard_normal((2, 3, capacity, SIZE)).astype(np.float32)
    lengths = [np.array([0, 13]), *([np.array([5, 2])] if ring else [])]
    found = call(
        written("kv_append", kv_append, cpu, tokens=None, heads=3, size=SIZE, ring=ring), cpu, new, *lengths, cache
    )[-1]
    np.testing.assert_array_equal(found, evaluated(ops.kv_append, cache, new, *lengths))


@pytest.mark.parametrize(
    ("key_scale", "value_scale", "ring", "interleaved", "pairs"),
    [
        (None, None, False, False, PAIRS),
        (None, None, True, False, 0),
        ("channel", "token", True, False, PAIRS),
        ("tensor", "channel", False, True, PAIRS),
        ("token", "tensor", True, True, PAIRS),
    ],
)
def test_one_pass_is_the_parts_of_it(
    key_scale: Any, value_scale: Any, ring: bool, interleaved: bool, pairs: int
) -> None:
    # Without fused products turned keys are bit for bit those of numpy, and so are their codes.
    cpu, random = GENERIC, np.random.default_rng(0)
    x = random.standard_normal((BATCH, SEQUENCE, PACKED.columns)).astype(np.float32)
    angle = random.standard_normal((1, SEQUENCE, PAIRS)).astype(np.float32)
    cos, sin = np.cos(angle), np.sin(angle)
    tables = [cos, sin] if pairs else []
    lengths = [np.array([0, 9]), *([np.array([4, 2])] if ring else [])]

    def scale(share: Any, size: int) -> list[Any]:
        shapes = {"tensor": (1,), "channel": (KV, size), "token": (BATCH, KV, CAPACITY)}
        return [random.uniform(0.01, 0.02, shapes[share]).astype(np.float32)] if share else []

    def cache(share: Any, size: int) -> Any:
        return random.integers(-9, 9, (BATCH, KV, CAPACITY, size)).astype(np.int8 if share else np.float32)

    def heads(column: int, count: int, size: int) -> Any:
        rows = x[..., column : column + count * size].reshape(BATCH, SEQUENCE, count, size)
        return np.ascontiguousarray(rows.transpose(0, 2, 1, 3))

    def turned(z: Any) -> Any:
        if not pairs:
            return z
        first, second = (slice(0, 16, 2), slice(1, 16, 2)) if interleaved else (slice(0, 8), slice(8, 16))
        a, b = z[..., first].copy(), z[..., second].copy()
        z[..., first], z[..., second] = a * cos[:, None] - b * sin[:, None], b * cos[:, None] + a * sin[:, None]
        return z

    kernel = written(
        "rotary_append",
        rotary_append,
        cpu,
        tokens=None,
        packed=PACKED,
        heads=HEADS,
        kv_heads=KV,
        head_size=SIZE,
        value_size=VALUE,
        pairs=pairs,
        interleaved=interleaved,
        shared=True,
        ring=ring,
        key_scale=key_scale,
        value_scale=value_scale,
    )
    scales = [scale(key_scale, SIZE), scale(value_scale, VALUE)]
    caches = [cache(key_scale, SIZE), cache(value_scale, VALUE)]
    empty = np.zeros((BATCH, HEADS, SEQUENCE, SIZE), np.float32)
    *after, k, v, q = call(kernel, cpu, x, *tables, *lengths, *scales[0], *scales[1], *caches, empty)
    np.testing.assert_array_equal(q, turned(heads(PACKED.query_column, HEADS, SIZE)))
    news = turned(heads(PACKED.key_column, KV, SIZE)), heads(PACKED.value_column, KV, VALUE)
    left = iter(after[len(after) - len(scales[0]) - len(scales[1]) :])
    for new, share, given, before, found in zip(news, (key_scale, value_scale), scales, caches, (k, v), strict=True):
        if share is None:
            np.testing.assert_array_equal(found, evaluated(ops.kv_append, before, new, *lengths))
            continue
        (held,) = given
        over = held if share == "tensor" else held[None, :, None]
        kept = next(left)
        if share == "token":
            over = np.maximum(np.abs(new).max(-1, keepdims=True) * np.float32(1 / 127), np.float32(SMALLEST))
            np.testing.assert_array_equal(kept, evaluated(ops.kv_append, held[..., None], over, *lengths)[..., 0])
        codes = evaluated(ops.quantize_tensor, new, over, to=DType.I8)
        np.testing.assert_array_equal(found, evaluated(ops.kv_append, before, codes, *lengths))
