"""Quantized weights: what the kernels really compute, what lowering makes of each format, whole models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

import graphwright
from graphwright.backends.interface import Companions
from graphwright.backends.onnx.emit import emitter
from graphwright.backends.onnx.lower import lower
from graphwright.compiling.lowering import build_artifact, export_folder
from graphwright.ir import Builder, DType, Graph, Program, StoredArray, Weight, ops, read_program, tensor
from graphwright.ir.dialects.ort.block_layout import block_parts, half_codes, regrouped, unblocked
from graphwright.ir.dialects.ort.capabilities import ORT, PORTABLE
from graphwright.ir.dialects.ort.conditions import BLOCKS, ROUNDED_TWO_BITS
from graphwright.ir.dialects.ort.quantized import matmul_nbits
from graphwright.ir.ops.quantization import fake_quantize
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.rounding import Search
from graphwright.ir.storage import stored_bytes, weights_of
from graphwright.ir.types import QuantizedType
from graphwright.ir.weights import Applied, WeightExpression
from tests.backends.models import MODELS, decoder
from tests.backends.quantizing import Scheme, quantized
from tests.backends.running import (
    ROUNDOFF,
    InPlace,
    Reference,
    close_enough,
    continued,
    prefill_inputs,
    start,
    vocabulary,
)
from tests.backends.ties import follow
from tests.ir.quantized_types import dequantized
from tests.passes.lowering.ort.lowered import lower_program

ROWS, COLUMNS = 5, 7


def _weight(inner: int, to: str, group: int, seed: int = 0) -> Applied:
    values = torch.randn(COLUMNS, inner, generator=torch.Generator().manual_seed(seed))
    return Applied.of(ops.round_to_nearest, (StoredArray.of(values),), {"to": DType(to), "group": group})


def _numbers(inner: int, block: int) -> Tensor:
    """Rows of which no number lies so near to the middle between two codes that rounding its scale may turn it."""
    x = torch.randn(ROWS, inner, generator=torch.Generator().manual_seed(1))
    x[0, : block // 2] = 0
    padded = torch.nn.functional.pad(x, (0, -inner % block)).reshape(ROWS, -1, block)
    units = padded / (padded.abs().amax(-1, keepdim=True) / 127).clamp(min=1e-30)
    near = ((units - units.floor() - 0.5).abs() < 1e-3).reshape(ROWS, -1)[:, :inner]
    return torch.where(near, x * 0.99, x)


def _product(x: Tensor, weight: Applied, block: int, rounded: bool) -> Tensor:
    graph = Graph("probe")
    value = graph.add_input("x", tensor("f32", "B", x.shape[1]))
    parts = [
        None if part is None else graph.weight(Weight(f"w{i}", StoredArray.of(part.evaluate())))
        for i, part in enumerate(block_parts(weight))
    ]
    assert isinstance(weight.type, QuantizedType)
    attributes = {"bits": weight.type.element.bits, "block": block, "rounded": rounded}
    graph.outputs["y"] = Builder(graph)(matmul_nbits, value, *parts, **attributes)
    model = lower(graph, "probe", contrib=True).model
    return torch.as_tensor(start(model.SerializeToString()).run(None, {"x": x.numpy()})[0])


def _values(weight: WeightExpression) -> Tensor:
    """What a quantized weight stands for, in float64."""
    assert isinstance(weight.type, QuantizedType)
    return dequantized(weight.evaluate(), torch.float64)


def _bound(x: Tensor, weight: Tensor) -> Tensor:
    """Of a sum of k products in float32, each factor rounded once more: (k + 8) roundoffs of the sum of magnitudes."""
    return (x.shape[1] + 8) * ROUNDOFF * (x.double().abs() @ weight.double().abs().T)


@pytest.mark.parametrize("rounded", [False, True], ids=["float", "int8"])
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("to", ["i2", "u2", "i4", "u4", "i8", "u8"])
def test_the_kernel_of_blocks_computes_what_its_op_says(
    to: str, block: int, rounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(emitter, "INLINE_LIMIT", 1 << 20)
    bits, inner = int(to[1]), block + 12  # a last block that is cut short
    weight = _weight(inner, to, block)
    x, numbers = _numbers(inner, block), _values(weight)
    as_rounded = fake_quantize.evaluate([x], {"to": DType.I8, "group": block})
    got = _product(x, weight, block, rounded).double()
    promised = rounded and not (bits == 2 and block not in ROUNDED_TWO_BITS)
    given, other = (as_rounded, x) if promised else (x, as_rounded)
    bound = _bound(given, numbers)
    assert ((got - given.double() @ numbers.T).abs() <= bound).all()
    assert ((got - other.double() @ numbers.T).abs() > bound).any(), "the bound tells rounded numbers from others"


def test_three_bits_have_no_kernel() -> None:
    graph = Graph("probe")
    value = graph.add_input("x", tensor("f32", "B", 32))
    parts = [graph.weight(Weight(n, StoredArray.of(v))) for n, v in _two_bit_parts().items()]
    graph.outputs["y"] = Builder(graph)(matmul_nbits, value, *parts, bits=2, block=32)
    model = lower(graph, "probe", contrib=True).model
    (node,) = model.graph.node
    next(a for a in node.attribute if a.name == "bits").i = 3
    with pytest.raises(Exception, match="nbits"):
        start(model.SerializeToString())


def _two_bit_parts() -> dict[str, Tensor]:
    return {"codes": torch.zeros(7, 1, 8, dtype=torch.uint8), "scales": torch.ones(7, 1)}


# -- layouts


@pytest.mark.parametrize("to", ["i2", "u2", "i3", "u3", "i4", "u4", "i8", "u8", "f4e2m1"])
@pytest.mark.parametrize(("inner", "group", "block"), [(172, 32, 32), (64, 128, 16), (40, 0, 16), (96, 96, 32)])
def test_blocks_hold_the_very_numbers(to: str, inner: int, group: int, block: int) -> None:
    source = _weight(inner, to, group)
    element = {"i3": "i4", "u3": "u4", "f4e2m1": "i8"}.get(to, to)
    weight = Applied.of(regrouped, (source,), {"to": DType(element), "group": block})
    codes, scales, zero_points = (None if p is None else p.evaluate() for p in block_parts(weight))
    assert codes is not None
    assert scales is not None
    bits = DType(element).bits
    wide = unblocked(codes, scales.double(), zero_points, bits, block)
    assert torch.equal(wide[:, :inner], _values(source))
    assert not wide[:, inner:].any(), "what fills the last block is zero"


@pytest.mark.parametrize("to", ["i8", "u8"])
def test_halves_add_up_to_the_very_numbers(to: str) -> None:
    source = Applied.of(regrouped, (_weight(100, to, 0),), {"to": DType(to), "group": 32})
    high, low = (_values(Applied.of(half_codes, (source,), {"high": h})) for h in (True, False))
    assert torch.equal(high + low, _values(source))


# -- lowering

FORMATS: dict[str, tuple[Scheme, str, list[str]]] = {
    "w4a16": (Scheme("i4", 32), "ort.matmul_nbits", []),
    "w4a8": (Scheme("i4", 32, 32, table=True), "ort.matmul_nbits", []),
    "w4a8-finer": (Scheme("u4", 64, 16), "ort.matmul_nbits", []),
    "w8": (Scheme("i8", 0, table=True), "ort.matmul_nbits", []),
    "w8a8": (Scheme("i8", 0, 0), "onnx.matmul_integer", []),
    "w8a8-asymmetric": (Scheme("u8", 0, 0), "onnx.matmul_integer", []),
    "w8a8-g32": (Scheme("i8", 32, 32), "ort.matmul_nbits", []),
    "w8a8-coarser": (
        Scheme("i8", 16, 32),
        "ort.matmul_nbits",
        ["x is rounded with a scale for 32 of them, the weight has a scale for 16 of them"],
    ),
    "w3": (Scheme("u3", 32, table=True), "ort.matmul_nbits", []),
    "w2a8": (Scheme("i2", 32, 32, table=True), "ort.matmul_nbits", []),
    "mxfp4": (Scheme("f4e2m1", 32, scale="f8e8m0", table=True), "ort.matmul_nbits", []),
    "nvfp4": (Scheme("f4e2m1", 16, scale="f8e4m3"), "ort.matmul_nbits", []),
    "w4-minimum": (Scheme("u4", 32, table=True, scale="f16", minimum=True), "ort.matmul_nbits", []),
    "w4a8-minimum": (Scheme("u4", 32, 32, minimum=True), "ort.matmul_nbits", []),
    "f8": (
        Scheme("f8e4m3", 0, table=True),
        "matmul",
        ["no operator multiplies codes of f8e4m3; its weight is stored as f32"],
    ),
    "g24": (Scheme("i4", 24), "matmul", ["groups of 24 are not made of blocks of 16; its weight is stored as f32"]),
}


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_has_its_operator(name: str) -> None:
    scheme, operator, reasons = FORMATS[name]
    program = quantized(decoder(MODELS["tied"]), scheme)
    graph = program.graphs["prefill"]
    outcome = lower_program(program, graph, ORT)
    names = {op.name for op in graph}
    assert operator in names
    # The sums of rounded numbers that minimums are multiplied by.
    rounded = {"w8a8-coarser", "w4a8-minimum"}
    assert "linear" not in names
    assert "fake_quantize" not in names or name in rounded
    found = {m.reason for m in outcome.near_misses}
    assert set(reasons) <= found
    assert reasons or not {r for r in found if "stored as" in r}


@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_a_weight_that_is_computed_is_refused(dialect: str) -> None:
    from graphwright.ir import UnsupportedError

    program = Program("test")
    graph = program.add_graph(Graph("forward"))
    x, codes, scales = (
        graph.add_input(n, tensor(*t)) for n, t in (("x", ("f32", "B", 32)), ("c", ("i4", 7, 32)), ("s", ("f32", 7, 1)))
    )
    build = Builder(graph, location="model.head")
    weight = build(ops.quantized, codes, scales, group=32)
    graph.outputs["y"] = build(ops.linear, x, weight)
    with pytest.raises(UnsupportedError, match=r"at model\.head: .* and there is no way"):
        lower_program(program, graph, ORT if dialect == "ort" else PORTABLE)


@pytest.mark.parametrize("dtype", ["f64", "f16", "bf16"])
def test_other_floats_keep_the_numbers_of_the_weight(dtype: str) -> None:
    program = Program("test")
    graph = program.add_graph(Graph("forward"))
    x = graph.add_input("x", tensor(dtype, "B", 32))
    weight = graph.weight(program.add_weight("w", _weight(32, "i4", 32)))
    graph.outputs["y"] = Builder(graph)(ops.linear, x, weight)
    lower_program(program, graph, ORT)
    assert ("ort.matmul_nbits" in {op.name for op in graph}) == (dtype != "f64")


# -- whole models

STEPS = [(6, [6, 2]), (1, [1, 1]), (3, [1, 3]), (1, [1, 1])]


def _follow(program: Program, scheme: Scheme, folder: Path, dialect: str) -> None:
    """Ragged prompts, a chunk and decode steps, compiled and in the interpreter."""
    program = quantized(program, scheme)
    build_artifact(program, folder, dialect=dialect)
    graph = program.graphs["prefill"]
    for ids, logits in continued(InPlace(folder / "model.onnx", graph, 2, 16), STEPS, vocabulary(program)):
        follow(graph, ids, logits)


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", FORMATS)
def test_compiled_formats_equal_the_interpreter(name: str, dialect: str, tmp_path: Path) -> None:
    _follow(decoder(MODELS["qwen2"]), FORMATS[name][0], tmp_path / "a", dialect)


STORIES = Path(__file__).parents[3] / "shared/models/stories260k"


@pytest.mark.skipif(not STORIES.is_dir(), reason="the shared model stories260k is not here")
@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", ["w4a16", "w4a8", "w8", "w8a8"])
def test_a_trained_model_with_sizes_that_blocks_do_not_divide(name: str, dialect: str, tmp_path: Path) -> None:
    program, _ = graphwright.optimize(graphwright.trace(STORIES), "cpu")
    _follow(program, FORMATS[name][0], tmp_path / "a", dialect)


@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_the_text_reads_back_as_what_was_lowered(dialect: str, tmp_path: Path) -> None:
    for name in ("w4a8", "w8", "w3"):
        program = quantized(decoder(MODELS["tied"]), FORMATS[name][0])
        build_artifact(program, tmp_path / name, dialect=dialect)
        lowered = read_program(tmp_path / name / "lowered.gw").graphs["prefill"]
        inputs = prefill_inputs(np.array([[1, 2, 3]]), np.zeros(1, np.int64), np.array([3]))
        got, expected = (Reference(g, 1, 4).step(inputs) for g in (lowered, program.graphs["prefill"]))
        assert np.abs(got - expected).max() <= close_enough(expected)


def test_table_and_head_share_their_bytes(tmp_path: Path) -> None:
    for name in ("w4a8", "w8"):
        program = quantized(decoder(MODELS["tied"]), FORMATS[name][0])
        build_artifact(program, tmp_path / name)
        model = onnx.load_model_from_string((tmp_path / name / "model.onnx").read_bytes())
        places: dict[str, list[str]] = {}
        for initializer in model.graph.initializer:
            for entry in initializer.external_data:
                if entry.key == "offset":
                    places.setdefault(entry.value, []).append(initializer.name)
        shared = [names for names in places.values() if len(names) > 1]
        halves = [""] if name == "w4a8" else [".high", ".low"]
        stem = "embed.weight.quantized"
        assert shared == [[f"{stem}{h}.{part}" for part in ("rows", "codes")] for h in halves]


@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_predicted_weight_bytes_are_those_of_the_file(dialect: str, tmp_path: Path) -> None:
    program = quantized(decoder(MODELS["qwen2"]), FORMATS["w4a8"][0])
    build_artifact(program, tmp_path / "a", dialect=dialect)
    model = onnx.load_model_from_string((tmp_path / "a" / "model.onnx").read_bytes())
    lowered = read_program(tmp_path / "a" / "lowered.gw")
    weights = {w.name: w for w in weights_of(lowered.graphs.values())}
    external = [t for t in model.graph.initializer if t.external_data]
    assert external
    for initializer in external:
        length = next(int(e.value) for e in initializer.external_data if e.key == "length")
        assert stored_bytes(weights[initializer.name]) == length


@pytest.mark.parametrize("layout", ["plain", "genai", "optimum"])
@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_quantized_programs_are_exported(layout: str, dialect: str, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "config.json").write_text("{}")
    program = quantized(decoder(MODELS["tied"]), FORMATS["w4a8"][0])
    export_folder(program, tmp_path / "e", layout=layout, dialect=dialect, companions=Companions(tmp_path / "c"))
    start(tmp_path / "e" / "model.onnx")


def test_a_weight_is_rounded_once_for_all_that_is_written_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graphwright.ir.ops import quantization

    program = quantized(decoder(MODELS["llama"]), Scheme("u8", 0))
    calls = 0
    rounding = quantization.quantize

    def counted(x: Tensor, type: QuantizedType, search: Search) -> QuantizedTensor:
        nonlocal calls
        calls += 1
        return rounding(x, type, search)

    monkeypatch.setattr(quantization, "quantize", counted)
    build_artifact(program, tmp_path / "a")
    linears = sum(op.definition is ops.linear for op in program.graphs["prefill"])
    # Small parts go into the model file before the others are written, and into the program's text afterwards.
    assert linears <= calls <= 3 * linears
