"""Every row of the capability tables, probed against the installed ONNX Runtime, and the edges it draws."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from graphwright.backends.onnx.emit import EMISSIONS, TABLES
from graphwright.backends.onnx.lower import lower
from graphwright.ir import (
    Builder,
    DType,
    Graph,
    Op,
    QuantizedType,
    StateType,
    StoredArray,
    UserError,
    Value,
    Weight,
    ops,
    tensor,
)
from graphwright.ir.declare import REGISTRY
from graphwright.ir.dialects.ort import capabilities, dialects, operators
from graphwright.ir.dialects.ort.experts import chosen_experts
from graphwright.ir.dialects.ort.group_query import group_query_attention
from graphwright.ir.dialects.ort.quantized import dequantize_linear, matmul_nbits
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.targets import Capability
from tests.backends.running import start
from tests.ir.cases import CASES, Case
from tests.ir.dialects.ort.cases import DIALECT_CASES, with_dtype

BINDINGS = {"B": 3, "S": 4, "P": 5}
QUANTIZED_WEIGHTS = {
    "quantized", "round_to_nearest", "quantized_codes", "quantized_scales", "quantized_zero_points",
    "quantized_minimums", "quantized_tensor_scale", "dequantize", "quantized_embedding", "pack_bits", "unpack_bits",
    "bitcast", "sort_order", "seeded",
}  # fmt: skip
"""Ops that are applied to weights when these are written, or that lowering rewrites."""


def _probes() -> list[tuple[Capability, Case]]:
    probes: list[tuple[Capability, Case]] = []
    for row in capabilities.ORT.rows:
        for case in (c for c in [*CASES, *DIALECT_CASES] if c.op is row.op):
            wanted = (with_dtype(case, d) for d in sorted(row.dtypes, key=str))
            if any(isinstance(v.type, QuantizedType) for v in case.build().inputs):
                continue
            cases = [case] if row.op is ops.where else [c for c in wanted if c is not None]
            probes += [(row, c) for c in cases if row.condition is None or row.condition(c.build()) is None]
    return probes


PROBES = list({str(case): (row, case) for row, case in _probes()}.values())


PACKED_PARTS = ("codes", "scales", "zero_points")


def test_every_row_is_probed_on_every_type() -> None:
    probed = {(c.op, (c.build().inputs or c.build().results)[0].tensor.dtype) for _, c in PROBES}
    claimed = {(row.op, dtype) for row in capabilities.ORT.rows for dtype in row.dtypes}
    assert {(o.name, str(d)) for o, d in claimed} <= {(o.name, str(d)) for o, d in probed}


def test_what_can_be_emitted_is_in_the_table_and_the_other_way_round() -> None:
    assert {d.name for d in EMISSIONS} == {row.op.name for row in capabilities.ORT.rows}
    assert len(EMISSIONS) == sum(len(table.EMISSIONS) for table in TABLES), "an op is emitted twice"


def test_every_primitive_has_an_emission() -> None:
    core = {d for name, d in REGISTRY.items() if "." not in name}
    assert {d.name for d in core - EMISSIONS.keys()} == {"attention", "rope", "ring_positions", *QUANTIZED_WEIGHTS}


@pytest.mark.parametrize(("row", "case"), PROBES, ids=lambda x: str(x) if isinstance(x, Case) else "")
def test_row_holds(row: Capability, case: Case) -> None:
    op = case.build()
    assert capabilities.ORT.refusal(op) is None
    operands = _sample(case)
    types = [v.type for v in op.results]
    expected = apply_reference(op.definition, operands, op.attributes, types, BINDINGS)
    results = _run(op, operands)
    for got, want in zip(results, expected, strict=True):
        _compare(op, operands, got, want)


def _sample(case: Case) -> list[torch.Tensor | None]:
    operands = case.sample(BINDINGS, torch.Generator().manual_seed(3))
    if case.op is group_query_attention:
        # Rows with a past, several new tokens, and padding.
        past, new = torch.tensor([0, 5, 2]), torch.tensor([4, 1, 3])
        total = past + new
        operands[3:6] = [(total - 1).int(), total.max().int(), new.int()]
        if case.operands[5] is None:
            # Of several rows at once the operator then takes a first prompt alone.
            sequence = torch.tensor(BINDINGS["S"], dtype=torch.int32)
            operands[3:6] = [(sequence - 1).expand(3).contiguous(), sequence, None]
    return operands


def _run(op: Op, operands: list[torch.Tensor | None]) -> list[np.ndarray[Any, Any]]:
    """The op's results by ONNX Runtime. bfloat16, which numpy lacks, crosses the border as float32."""
    graph = Graph("probe")
    build = Builder(graph)
    values: list[Value | None] = []
    feeds: dict[str, np.ndarray[Any, Any]] = {}
    for i, (value, data) in enumerate(zip(op.operands, operands, strict=True)):
        if value is None or data is None:
            values.append(None)
            continue
        if op.definition in (matmul_nbits, dequantize_linear) and op.definition.operands[i].name in PACKED_PARTS:
            # As stored weights, which kernels bring into another order before they run.
            values.append(graph.weight(Weight(f"x{i}", StoredArray(data, value.tensor))))
            continue
        if value.tensor.dtype is not DType.BF16:
            values.append(graph.add_input(f"x{i}", value.type))
            feeds[f"x{i}"] = data.numpy()
            continue
        narrow = build(ops.cast, graph.add_input(f"x{i}", value.tensor.with_dtype(DType.F32)), dtype=DType.BF16)
        values.append(build(operators.as_cache, narrow) if isinstance(value.type, StateType) else narrow)
        feeds[f"x{i}"] = data.float().numpy()
    # Something has to carry the symbols.
    for symbol, size in BINDINGS.items():
        graph.add_input(symbol, tensor("f32", symbol))
        feeds[symbol] = np.zeros(size, np.float32)
    for i, result in enumerate(graph.insert(op.definition, values, op.attributes).results):
        narrow = result.tensor.dtype is DType.BF16
        if narrow and isinstance(result.type, StateType):
            result = build(ops.kv_read, result)
        graph.outputs[f"y{i}"] = build(ops.cast, result, dtype=DType.F32) if narrow else result
    session = start(lower(graph, "probe", contrib=True).model.SerializeToString())
    return session.run(None, feeds)


def _compare(op: Op, operands: list[torch.Tensor | None], got: np.ndarray[Any, Any], want: torch.Tensor) -> None:
    expected = want.float().numpy() if want.dtype is torch.bfloat16 else want.numpy()
    assert got.shape == expected.shape
    assert got.dtype == expected.dtype
    if op.definition is group_query_attention:
        got, expected = _promised(op, operands, got, expected)
    if not want.is_floating_point():
        assert np.array_equal(got, expected)
        return
    # A sum of n terms of order one is off by n rounding errors of half an eps at most; the longest sums here have 64
    # terms, but those of the scores of attention as many as a head has numbers. Which order a kernel sums in depends
    # on the processor. A rounding to TF32 is off by 4096 eps.
    terms = 64
    if op.definition is group_query_attention and want.dim() == 3:
        heads = op.attributes["heads"]
        assert isinstance(heads, int)
        terms = max(terms, want.shape[-1] // heads)
    bound = terms / 2 * float(torch.finfo(want.dtype).eps) * max(1.0, float(np.abs(expected).max()))
    assert np.abs(got.astype(np.float64) - expected.astype(np.float64)).max() <= bound


def _promised(
    op: Op, operands: list[torch.Tensor | None], got: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """What the operator specifies: results of real tokens, and caches as far as they are filled."""
    last, new = operands[3], operands[5]
    assert last is not None
    if new is None:
        new = torch.full_like(last, BINDINGS["S"])
    rank_of_result = 3
    kept = [
        (slice(row), slice(int(n))) if got.ndim == rank_of_result else (slice(row), slice(None), slice(int(t) + 1))
        for row, (n, t) in enumerate(zip(new, last, strict=True))
    ]
    parts = [(got[(row, *k[1:])], expected[(row, *k[1:])]) for row, k in enumerate(kept)]
    return np.concatenate([g.ravel() for g, _ in parts]), np.concatenate([e.ravel() for _, e in parts])


# -- edges


def _attempt(case: Case) -> str | None:
    """Why ONNX Runtime refuses the op; None if it runs it and the result is right."""
    op, operands = case.build(), _sample(case)
    expected = apply_reference(op.definition, operands, op.attributes, [v.type for v in op.results], BINDINGS)
    try:
        results = _run(op, operands)
    except Exception as problem:
        return str(problem)
    _compare(op, operands, results[0], expected[0])
    return None


def _grouped(size: int, pairs: int | None, codes: str | None = None) -> Case:
    """`codes` is the type of what a cache holds if not floats."""
    held = size // 2 if codes == "u8" else size
    cache = f"state<contiguous {codes or 'f32'}[B, 2, 12, {held}]>"
    table = f"f32[12, {pairs}]" if pairs else None
    scale = None if codes is None else "f32[]"
    lengths = ("i32[B]", "i32[]", "i32[B]")
    operands = (f"f32[B, S, {8 * size}]", cache, cache, *lengths, None, None, table, table, None, scale, scale)
    return Case(group_query_attention, operands, {"heads": 4, "scale": 0.3})


@pytest.mark.parametrize("size", [4, 8, 12, 16, 20, 24, 32, 40, 48, 64, 80, 96, 128])
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("codes", [None, "i8", "u8"])
def test_head_sizes_of_group_query_attention(size: int, rotary: bool, codes: str | None) -> None:
    case = _grouped(size, size // 2 if rotary else None, codes)
    assert (capabilities.ORT.refusal(case.build()) is None) == (_attempt(case) is None)


@pytest.mark.parametrize("codes", ["i8", "u8"])
def test_caches_of_codes_beside_float16(codes: str) -> None:
    float32 = _grouped(16, None, codes)
    case = replace(float32, operands=("f16[B, S, 128]", *float32.operands[1:]))
    assert capabilities.ORT.refusal(case.build()) is None
    assert _attempt(case) is None


@pytest.mark.parametrize("pairs", [2, 4, 6, 8, 12, 16, 20, 24, 32])
def test_rotary_pairs_of_group_query_attention(pairs: int) -> None:
    case = _grouped(64, pairs)
    assert (capabilities.ORT.refusal(case.build()) is None) == (_attempt(case) is None)


def _experts(size: int, inner: int, out: int, kind: str, gated: bool, **attributes: float) -> Case:
    weights = (f"f32[5, {inner * (2 if gated else 1)}, {size}]", f"f32[5, {out}, {inner}]")
    operands = (f"f32[B, {size}]", "f32[B, 5]", *weights)
    return Case(chosen_experts, operands, {"kind": kind, "gated": gated, **attributes})


@pytest.mark.parametrize("sizes", [(1, 1, 1), (7, 3, 7), (8, 5, 6), (64, 96, 64), (6, 5, 8)])
def test_sizes_of_experts(sizes: tuple[int, int, int]) -> None:
    case = _experts(*sizes, kind="silu", gated=True)
    assert (capabilities.ORT.refusal(case.build()) is None) == (_attempt(case) is None)


@pytest.mark.parametrize(
    "units",
    [("relu", True, {}), ("gelu_tanh", True, {}), ("gelu", False, {}), ("silu", False, {"alpha": 1.7})],
    ids=str,
)
def test_activations_of_experts_that_are_refused(units: tuple[str, bool, dict[str, float]]) -> None:
    kind, gated, attributes = units
    assert capabilities.ORT.refusal(_experts(8, 4, 8, kind, gated, **attributes).build()) is not None


def test_a_float_type_beyond_the_table_does_not_run() -> None:
    for case in (Case(ops.erf, ("f64[B]",)), Case(ops.glu, ("f64[B]", "f64[B]"), {"kind": "gelu"})):
        assert capabilities.ORT.refusal(case.build()) is not None
        assert _attempt(case) is not None


def test_a_ring_is_appended_to_by_lowering_alone() -> None:
    cases = [c for c in CASES if c.op is ops.kv_append and c.build().operand("new_length") is not None]
    (case,) = (c for c in cases if c.build().required("new").tensor.dtype is DType.F32)
    assert capabilities.ORT.refusal(case.build()) == "ort: no append to a ring cache"
    assert _attempt(case) is not None


def test_portable_takes_no_contrib_operator() -> None:
    contrib = {row.op.name for row in capabilities.ORT.rows} - {row.op.name for row in capabilities.PORTABLE.rows}
    assert contrib == {d.name for d in EMISSIONS if d.name.startswith("ort.")}


def test_an_unknown_dialect_is_named_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"dialect is 'tensorrt'; it must be one of ort, ort-cuda, portable"):
        dialects.select_target("tensorrt")
