"""Every case of every op, lowered for both dialects on every element type: right, or refused in so many words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from graphwright.backends.onnx.lower import lower
from graphwright.ir import Builder, DType, Graph, IRTypeError, Program, StateType, UnsupportedError, Value, ops, tensor
from graphwright.ir.dialects.ort import capabilities, operators
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.targets import Target
from tests.backends.running import start
from tests.ir.cases import CASES, Case
from tests.ir.dialects.ort.cases import with_dtype
from tests.passes.lowering.ort.lowered import lower_program

BINDINGS = {"B": 3, "S": 4, "P": 5}
TYPES = (DType.F32, DType.F64, DType.F16, DType.BF16, DType.I64, DType.I32, DType.I8, DType.U8, DType.BOOL)
STATEFUL = "causal_conv linear_recurrence running_sum weighted_mean"
BYTES = """abs add amax amin cumsum div iota maximum minimum mul neg pow remainder running_sum scatter_elements sub sum
topk"""
REFUSED = {
    dtype: frozenset(names.split())
    for dtype, names in {
        "f64": """activation causal_conv convolution erf fake_quantize glu linear_recurrence moe_experts quantize_tensor
        weighted_mean""",
        "f16": STATEFUL,
        "bf16": STATEFUL,
        "bool": "scatter_elements",
        "i32": "scatter_elements",
        "i8": BYTES,
        "u8": BYTES,
    }.items()
}
"""What is refused in every form and for both dialects, by element type; nothing else is: arithmetic with 8-bit
integers, states in narrow floats, which the CPU pipeline widens, and a few more."""


OF_WEIGHTS = (ops.seeded, ops.pack_bits, ops.unpack_bits, ops.bitcast, ops.sort_order)
"""Ops that are applied to weights when these are written."""


def _cases() -> list[Case]:
    found: dict[str, Case] = {}
    for case in (c for c in CASES if c.op not in OF_WEIGHTS and not _makes_narrow_codes(c)):
        for dtype in TYPES:
            changed = with_dtype(case, dtype)
            if changed is not None and _is_typed(changed) and not _has_narrow_state(changed):
                found[str(changed)] = changed
    return list(found.values())


def _makes_narrow_codes(case: Case) -> bool:
    """Of other types than bytes only caches hold codes, packed: see test_quantized_caches.py."""
    return case.op is ops.quantize_tensor and case.attributes["to"] not in (DType.I8, DType.U8)


def _has_narrow_state(case: Case) -> bool:
    """A state in bfloat16, which numpy lacks, of a layout that no plain tensor stands for: none is handed over."""
    types = [v.type for v in case.build().inputs]
    return any(isinstance(t, StateType) and t.layout != "contiguous" and t.dtype is DType.BF16 for t in types)


def _is_typed(case: Case) -> bool:
    try:
        case.build()
    except IRTypeError:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("target", [capabilities.ORT, capabilities.PORTABLE], ids=lambda t: t.name)
@pytest.mark.parametrize("case", _cases(), ids=str)
def test_lowered_op_equals_its_reference(case: Case, target: Target) -> None:
    op, operands = case.build(), case.sample(BINDINGS, torch.Generator().manual_seed(3))
    wanted = apply_reference(op.definition, operands, op.attributes, [v.type for v in op.results], BINDINGS)
    program, feeds = _program(case, operands)
    graph = program.graphs["forward"]
    refusal = _refusal(program, graph, target)
    dtype = _dtype(case)
    if op.name in REFUSED.get(dtype, ()):
        assert refusal is not None, f"{op.name} of {dtype} is recognized: take it off the list"
        assert f"{target.name} takes no {dtype} in {op.name}" in refusal
        return
    assert refusal is None
    session = start(lower(graph, "probe", contrib=target is capabilities.ORT).model.SerializeToString())
    for got, want in zip(session.run(None, feeds), wanted, strict=True):
        expected = want.float().numpy() if want.dtype is torch.bfloat16 else want.numpy()
        assert got.shape == expected.shape
        assert got.dtype == expected.dtype
        if not want.is_floating_point():
            assert np.array_equal(got, expected)
            continue
        bound = 32 * float(torch.finfo(want.dtype).eps) * max(1.0, float(np.abs(expected).max()))
        assert np.abs(got.astype(np.float64) - expected.astype(np.float64)).max() <= bound


def _dtype(case: Case) -> str:
    """The element type that a case is tried on."""
    op = case.build()
    return str((op.inputs or op.results)[0].tensor.dtype)


def test_every_refusal_on_the_list_is_tried() -> None:
    tried = {(_dtype(case), case.op.name) for case in _cases()}
    assert {(dtype, name) for dtype, names in REFUSED.items() for name in names} <= tried


def _refusal(program: Program, graph: Graph, target: Target) -> str | None:
    try:
        lower_program(program, graph, target)
    except UnsupportedError as problem:
        return str(problem)
    return None


def _program(case: Case, operands: list[torch.Tensor | None]) -> tuple[Program, dict[str, np.ndarray[Any, Any]]]:
    """The case as a function; bfloat16, which numpy lacks, crosses the border as float32."""
    op = case.build()
    program = Program("probe")
    graph = program.add_graph(Graph("forward"))
    build = Builder(graph)
    values: list[Value | None] = []
    # Something has to carry the symbols.
    for symbol in BINDINGS:
        graph.add_input(symbol, tensor("f32", symbol))
    feeds: dict[str, np.ndarray[Any, Any]] = {s: np.zeros(n, np.float32) for s, n in BINDINGS.items()}
    for i, (value, data) in enumerate(zip(op.operands, operands, strict=True)):
        if value is None or data is None:
            values.append(None)
        elif value.tensor.dtype is DType.BF16:
            narrow = build(ops.cast, graph.add_input(f"x{i}", value.tensor.with_dtype(DType.F32)), dtype=DType.BF16)
            values.append(build(operators.as_cache, narrow) if isinstance(value.type, StateType) else narrow)
            feeds[f"x{i}"] = data.float().numpy()
        else:
            values.append(graph.add_input(f"x{i}", value.type))
            feeds[f"x{i}"] = data.numpy()
    for i, result in enumerate(graph.insert(op.definition, values, op.attributes).results):
        if result.tensor.dtype is DType.BF16:
            plain = build(ops.kv_read, result) if isinstance(result.type, StateType) else result
            graph.outputs[f"y{i}"] = build(ops.cast, plain, dtype=DType.F32)
        else:
            graph.outputs[f"y{i}"] = result
    return program, feeds


def test_an_op_that_cannot_be_expressed_is_named_with_its_place() -> None:
    program = Program("test")
    graph = program.add_graph(Graph("forward"))
    x = graph.add_input("x", tensor("f64", "B"))
    graph.outputs = {"y": Builder(graph, location="model.layers.3.act")(ops.erf, x)}
    with pytest.raises(UnsupportedError, match=r"^erf at model\.layers\.3\.act: ort takes no f64 in erf, and there is"):
        lower_program(program, graph, capabilities.ORT)
