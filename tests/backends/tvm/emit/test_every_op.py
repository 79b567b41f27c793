"""Every op of the IR as the TVM backend runs it, beside its reference: all in one library, which takes a while."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graphwright.backends.tvm.library import CPU
from graphwright.ir import Builder, DType, Graph, Program, QuantizedType, UnsupportedError, ops
from graphwright.ir.convention import present_of
from graphwright.ir.interpreter import apply_reference, run
from graphwright.ir.text import parse_type
from graphwright.ir.types import StateType, tensor
from graphwright.ir.weights import Applied, StoredArray
from graphwright.passes import run_passes
from graphwright.passes.lowering.cpu import cpu_lowering
from tests.backends.running import ROUNDOFF, SLACK
from tests.backends.tvm.steps import Steps
from tests.ir.cases import BINARY, CASES, COMPARISONS, UNARY, Case
from tests.ir.dialects.ort.cases import with_dtype

TABLED = {DType.BOOL, DType.I8, DType.U8, DType.I16, DType.I32, DType.I64, DType.F16, DType.BF16, DType.F32, DType.F64}
X, ROW = "f32[B, S, 4]", "f32[S, 1]"


def runs(case: Case) -> bool:
    """Whether the case's types are those of a step's tensors. Codes of other types are read when weights are written;
    `attention` has tests of its kernel, of many forms, each of which takes a second to compile. `seeded` makes weights
    alone."""
    op = case.build()
    values = [*op.inputs, *op.results]
    if case.op in (ops.attention, ops.round_to_nearest, ops.seeded) or any(
        isinstance(v.type, QuantizedType) for v in values
    ):
        return False
    return all((v.type.tensor if isinstance(v.type, StateType) else v.tensor).dtype in TABLED for v in values)


def repeats(case: Case) -> bool:
    """Whether another case shows as much."""
    return (case.op in BINARY and case.operands in ((X, X), (X, ROW))) or (
        case.op in COMPARISONS and case.operands == (X, X)
    )


TRIED = [case for case in CASES if runs(case) and not repeats(case)]
NARROW_OPS = [
    *(ops.add, ops.div, ops.exp, ops.where, ops.cast, ops.mean, ops.softmax, ops.cumsum, ops.linear, ops.matmul),
    *(ops.convolution, ops.rms_norm, ops.layer_norm, ops.glu, ops.embedding, ops.gather, ops.scatter_elements),
    *(ops.topk, ops.moe_experts, ops.concat, ops.rope, ops.causal_conv, ops.running_sum, ops.linear_recurrence),
    *(ops.weighted_mean, ops.kv_append, ops.fake_quantize, ops.take_tokens),
]
NARROW = [
    narrow
    for op in NARROW_OPS
    for case in [next(c for c in TRIED if c.op is op and "f32" in str(c.operands))]
    for narrow in [with_dtype(case, DType.BF16)]
    if narrow is not None
]
DOUBLE = [
    double
    for op in (ops.mul, ops.tanh, ops.erf, ops.sigmoid, ops.maximum, ops.var, ops.softmax, ops.linear, ops.matmul)
    for case in [next(c for c in TRIED if c.op is op)]
    for double in [with_dtype(case, DType.F64)]
    if double is not None
]
ALL = [*TRIED, *NARROW, *DOUBLE]
SIZES = ({"B": 2, "S": 3, "P": 5}, {"B": 1, "S": 1, "P": 1}, {"B": 3, "S": 4, "P": 2})
TOKENS = {ops.causal_conv: 2, ops.linear_recurrence: 2, ops.weighted_mean: 1}
"""The axis of the tokens in the result of ops that pass over padding, where the result is arbitrary."""


def graph(case: Case, name: str) -> Graph:
    """The case as a graph whose sizes can be read off its inputs."""
    g = Graph(name)
    for symbol in ("B", "S", "P"):
        g.add_input(f"size_{symbol}", tensor("i64", symbol))
    names = operand_names(case)
    values = [None if t is None else g.add_input(n, parse_type(t)) for n, t in zip(names, case.operands, strict=True)]
    op = g.insert(case.op, values, case.attributes)
    changed = {i: names[case.op.operand_index(operand)] for i, operand in case.op.in_place.items()}
    g.outputs = {present_of(changed[i]) if i in changed else f"y{i}": v for i, v in enumerate(op.results)}
    return g


def operand_names(case: Case) -> list[str]:
    """Names for the operands: by them a step knows which cache an output replaces."""
    places = {case.op.operand_index(operand) for operand in case.op.in_place.values()}
    return [f"past.{i}.key" if i in places else f"x{i}" for i in range(len(case.operands))]


def lowered(*graphs: Graph) -> list[Graph]:
    """The graphs after the passes for the CPU's kernels."""
    program = Program("test")
    for each in graphs:
        program.add_graph(each)
        for weight in (v.weight for v in each.weights):
            assert weight is not None
            program.weights[weight.name] = weight
    run_passes(program, cpu_lowering(CPU))
    return list(program.graphs.values())


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> Steps:
    return Steps(lowered(*(graph(case, f"case_{i}") for i, case in enumerate(ALL))), tmp_path_factory.mktemp("ops"))


def compared(steps: Steps, index: int, sizes: dict[str, int], operands: list[Any]) -> list[tuple[Tensor, Tensor]]:
    """Each result, and what the reference gives."""
    case = ALL[index]
    op = case.build()
    inputs = {n: v for n, v in zip(operand_names(case), operands, strict=False) if v is not None}
    inputs |= {f"size_{symbol}": torch.zeros(n, dtype=torch.int64) for symbol, n in sizes.items()}
    wanted = apply_reference(case.op, operands, op.attributes, [v.type for v in op.results], sizes)
    found = steps.run(f"case_{index}", inputs, threads=1 if index % 4 else 2)
    return list(zip(found.values(), wanted, strict=True))


@pytest.mark.parametrize("index", range(len(ALL)), ids=map(str, ALL))
def test_equals_the_reference(index: int, steps: Steps) -> None:
    case = ALL[index]
    for seed, sizes in enumerate(SIZES):
        operands = case.sample(sizes, torch.Generator().manual_seed(seed))
        for number, (found, wanted) in enumerate(compared(steps, index, sizes, operands)):
            if number == 0 and case.op in (*TOKENS, ops.running_sum):
                found, wanted = real_part(case, operands, found), real_part(case, operands, wanted)
            if not wanted.dtype.is_floating_point:
                assert torch.equal(found, wanted)
                continue
            # A narrow result may be rounded to the other side.
            unit = torch.finfo(wanted.dtype).eps if wanted.dtype.itemsize < 4 else SLACK * ROUNDOFF
            bound = unit * float(wanted.double().abs().max())
            assert float((found.double() - wanted.double()).abs().max()) <= bound, sizes


def real_part(case: Case, operands: list[Any], result: Tensor) -> Tensor:
    """The result with zeros for padding."""
    names = [o.name for o in case.op.operands]
    lengths = operands[names.index("new_length")]
    if lengths is None:
        return result
    axis = TOKENS[case.op] if case.op in TOKENS else case.attributes["axis"]
    assert isinstance(axis, int)
    axis %= result.dim()
    real = torch.arange(result.shape[axis]) < lengths[:, None]
    shape = [result.shape[i] if i in (0, axis) else 1 for i in range(result.dim())]
    return torch.where(real.reshape(shape), result, torch.zeros_like(result))


SPECIAL = torch.tensor([0.0, -0.0, 1.5, -2.0, float("inf"), float("-inf"), float("nan"), 3e38])
ELEMENTWISE = [
    i for i, case in enumerate(TRIED) if case.op in (*BINARY, *COMPARISONS, *UNARY) and "f32" in str(case.operands[0])
]


@pytest.mark.parametrize("index", ELEMENTWISE, ids=[ALL[i].op.name for i in ELEMENTWISE])
def test_numbers_at_the_edge(index: int, steps: Steps) -> None:
    case = ALL[index]
    sizes = {"B": 2, "S": 8, "P": 1}
    column = SPECIAL[:, None]
    x = SPECIAL.reshape(2, 1, 4)
    operands = [x if "B, 1" in str(case.operands[0]) else x.expand(2, 8, 4).contiguous(), column][: len(case.operands)]
    ((found, wanted),) = compared(steps, index, sizes, operands)
    torch.testing.assert_close(found, wanted, rtol=SLACK * ROUNDOFF, atol=1e-37, equal_nan=True)


def test_extremes_and_softmax_keep_nan_and_infinities(steps: Steps) -> None:
    for index, case in enumerate(TRIED):
        if case.op not in (ops.amax, ops.amin, ops.softmax):
            continue
        x = torch.full((3, 2, 4), float("-inf"))
        x[1, 0, 2] = float("nan")
        x[2] = torch.tensor([[1.0, float("inf"), 2.0, 3.0], [float("-inf"), 0.0, -1.0, 5.0]])
        ((found, wanted),) = compared(steps, index, {"B": 3, "S": 2, "P": 1}, [x])
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=0, equal_nan=True)


def test_integers_divide_and_wrap_as_in_torch(steps: Steps) -> None:
    x, y = torch.tensor([[-7, 7, -(2**62), 3]]), torch.tensor([2, -2, 3, -1])
    for index, case in enumerate(TRIED):
        if case.op in (ops.div, ops.remainder, ops.mul) and case.operands[0] == "i64[B, S]":
            ((found, wanted),) = compared(steps, index, {"B": 1, "S": 4, "P": 1}, [x, y])
            assert torch.equal(found, wanted), case


def test_ties_and_nan_are_sorted_as_by_torch(steps: Steps) -> None:
    x = torch.tensor([2.0, float("nan"), 0.0, -0.0, 2.0, float("-inf"), float("nan"), 1.0]).reshape(1, 2, 4)
    for index, case in enumerate(TRIED):
        if case.op in (ops.topk, ops.sort_order) and "f32" in str(case.operands[0]):
            for found, wanted in compared(steps, index, {"B": 1, "S": 2, "P": 1}, [x]):
                torch.testing.assert_close(found, wanted, rtol=0, atol=0, equal_nan=True)


def test_weights_of_codes_are_read_when_they_are_written(tmp_path: Path) -> None:
    program = Program("test")
    g = program.add_graph(Graph("forward"))
    source = StoredArray.of(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)))
    attributes = {"to": DType.I4, "group": 4}
    weight = g.weight(program.add_weight("w", Applied.of(ops.round_to_nearest, (source,), attributes)))
    b = Builder(g)
    x = g.add_input("x", tensor("f32", 6, 6))
    g.outputs = {"y": b(ops.add, b(ops.slice, b(ops.dequantize, weight), axis=1, start=1, stop=7), x)}
    found = Steps(lowered(g), tmp_path).run("forward", {"x": torch.zeros(6, 6)})["y"]
    assert torch.equal(found, run(g, {"x": torch.zeros(6, 6)})["y"])


def test_what_cannot_run_is_refused_by_op_and_place(tmp_path: Path) -> None:
    case = Case(ops.quantize_tensor, ("f32[B, 2, S, 8]", "f32[]"), {"to": DType.I4})
    g = graph(case, "forward")
    (op,) = g
    op.location = "layers.3"
    with pytest.raises(UnsupportedError, match=r"quantize_tensor at layers.3: the TVM backend has no tensors of i4"):
        Steps([g], tmp_path)
