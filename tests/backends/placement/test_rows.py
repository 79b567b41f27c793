"""Every row of the table for CUDA, held against the kernels of the release that it is for."""

from __future__ import annotations

import pytest

from graphwright.backends.onnx.lower import lower
from graphwright.backends.onnx.placement import predict
from graphwright.ir import DType, Graph, Op, QuantizedType, Value, ops, tensor
from graphwright.ir.dialects.ort.cuda_capabilities import ORT_CUDA
from graphwright.ir.dialects.ort.group_query import group_query_attention
from graphwright.ir.dialects.ort.quantized import matmul_nbits
from graphwright.ir.dims import Dim
from graphwright.ir.targets import Capability
from tests.ir.cases import CASES, Case
from tests.ir.dialects.ort.cases import DIALECT_CASES, with_dtype

SYMBOLS = ("B", "S", "P")
NBITS = Case(matmul_nbits, ("f16[B, S, 64]", "u8[6, 2, 16]", "f16[6, 2]"), {"bits": 4, "block": 32})


def _probes() -> list[tuple[Capability, Case]]:
    probes: list[tuple[Capability, Case]] = []
    for row in ORT_CUDA.rows:
        for case in (c for c in [*CASES, *DIALECT_CASES, NBITS] if c.op is row.op):
            if any(isinstance(v.type, QuantizedType) for v in case.build().inputs):
                continue
            cases = [with_dtype(case, d) for d in sorted(row.dtypes, key=str)]
            probes += [(row, c) for c in ([case] if row.op is ops.where else cases) if c is not None]
    return probes


PROBES = list({str(case): (row, case) for row, case in _probes()}.values())


def _built(case: Case) -> tuple[Op, Graph]:
    """The case in a graph of its own; what counts tokens comes from sizes, as lowering has it for GPUs."""
    op, graph = case.build(), Graph("probe")
    values: list[Value | None] = []
    for i, v in enumerate(op.operands):
        counts = op.definition is group_query_attention and op.definition.operands[i].name == "total_length"
        if v is not None and counts:
            count = graph.insert(ops.dim_value, [], {"value": Dim.of("P")}).result
            values.append(graph.insert(ops.cast, [count], {"dtype": DType.I32}).result)
        else:
            values.append(None if v is None else graph.add_input(f"x{i}", v.type))
    for symbol in SYMBOLS:
        graph.add_input(symbol, tensor("f32", symbol))
    new = graph.insert(op.definition, values, op.attributes)
    graph.outputs = {f"y{i}": v for i, v in enumerate(new.results)}
    return new, graph


@pytest.mark.parametrize(("row", "case"), PROBES, ids=lambda x: str(x) if isinstance(x, Case) else "")
def test_row_has_kernels(row: Capability, case: Case) -> None:
    op, graph = _built(case)
    if row.condition is not None and row.condition(op) is not None:
        return
    assert ORT_CUDA.refusal(op) is None
    placed = predict(lower(graph, "probe", contrib=True))
    assert placed.is_whole, placed


def test_every_row_is_held_on_every_type() -> None:
    fitting = [(row, op) for row, case in PROBES if ORT_CUDA.refusal(op := _built(case)[0]) is None]
    held = {(op.name, (op.inputs or op.results)[0].tensor.dtype) for _, op in fitting}
    claimed = {(row.op.name, dtype) for row in ORT_CUDA.rows for dtype in row.dtypes}
    assert claimed <= held, sorted(map(str, claimed - held))
