"""GPTQ as a pass: order, resuming, shared weights, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch

from graphwright.ir import Builder, DType, Interpreter, PassError, Program, QuantizedType, StoredArray, Value, ops
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.rounding import Search
from graphwright.passes import Pass, parse_passes, run_passes
from graphwright.passes.calibration import calibrate
from graphwright.passes.quantization import compensated
from graphwright.passes.quantization.gptq import Factor, round_with_compensation
from graphwright.passes.quantization.weights import replace_linear_weight
from tests.ir.quantized_types import dequantized
from tests.passes.calibration.models import tokens, wide_blocks


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.npy"
    numpy.save(path, tokens(32, 16).numpy())
    return path


def gptq(program: Program, path: Path, options: str = "to=u4, group=8") -> Program:
    run_passes(program, parse_passes(f'quantize-weights{{{options}, method=gptq, tokens="{path}"}}'))
    return program


def values(program: Program) -> dict[str, torch.Tensor]:
    """What the quantized weights stand for."""
    return {
        name: dequantized(weight.evaluate(), torch.float64)
        for name, weight in program.weights.items()
        if isinstance(weight.type, QuantizedType)
    }


def test_each_layer_is_rounded_on_what_the_rounded_ones_before_give(rows: Path) -> None:
    found = values(gptq(wide_blocks(2, 8, 24), rows))
    expected = wide_blocks(2, 8, 24)
    for site, statistics in calibrate(expected, torch.as_tensor(numpy.load(rows)), lambda _: True):
        (op,) = site.ops
        weight = op.required("weight").weight
        assert weight is not None
        factor = Factor.of(statistics.second_moment, 0.01, False)
        value = weight.evaluate()
        type = QuantizedType(DType.U4, weight.type.shape, 8)
        made = round_with_compensation(value, factor, type, "mse").dequantize(torch.float64)
        # Statistics of the same values in the same order: nothing may differ.
        assert torch.equal(found[f"{weight.name}.quantized"], made)
        replace_linear_weight(expected, weight, f"{weight.name}.rounded", StoredArray.of(made.float()))


def test_its_answers_are_nearer_than_those_of_rounding_to_nearest(rows: Path) -> None:
    other = {"input_ids": tokens(16, 16, seed=1)}

    def logits(program: Program) -> torch.Tensor:
        return Interpreter("float64").run(program.graphs["forward"], other)["logits"]

    exact = logits(wide_blocks(3, 16, 48))
    rounded = wide_blocks(3, 16, 48)
    run_passes(rounded, parse_passes("quantize-weights{to=i4, group=16, method=mse}"))
    errors = [
        (logits(p) - exact).square().mean() for p in (gptq(wide_blocks(3, 16, 48), rows, "to=i4, group=16"), rounded)
    ]
    assert errors[0] < errors[1]


def test_a_run_that_was_stopped_goes_on(rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = values(gptq(wide_blocks(3, 8, 24), rows))
    folder = tmp_path / "finished"
    options = f'to=u4, group=8, folder="{folder}"'
    done: list[QuantizedType] = []

    def counted(weight: torch.Tensor, factor: Factor, type: QuantizedType, search: Search) -> QuantizedTensor:
        done.append(type)
        if len(done) == 4:
            raise KeyboardInterrupt
        return round_with_compensation(weight, factor, type, search)

    monkeypatch.setattr(compensated, "round_with_compensation", counted)
    with pytest.raises(KeyboardInterrupt):
        gptq(wide_blocks(3, 8, 24), rows, options)
    assert len(list(folder.iterdir())) == 3
    found = values(gptq(wide_blocks(3, 8, 24), rows, options))
    assert len(done) == 8  # seven weights, and the one that was interrupted
    assert found.keys() == whole.keys()
    assert all(torch.equal(found[name], whole[name]) for name in whole)
    gptq(wide_blocks(3, 8, 24), rows, options)
    assert len(done) == 8
    gptq(wide_blocks(3, 8, 24), rows, options + ", damping=0.02")
    assert len(done) == 15


def test_progress_is_told(rows: Path) -> None:
    told: list[tuple[int, int]] = []

    class Watch:
        def before(self, each: Pass, program: Program) -> None: ...

        def during(self, each: Pass, done: int, total: int) -> None:
            told.append((done, total))

        def after(self, each: Pass, program: Program) -> None: ...

    passes = parse_passes(f'quantize-weights{{method=gptq, tokens="{rows}"}}')
    run_passes(wide_blocks(2, 8, 24), passes, Watch())
    assert told == [(i, 5) for i in range(5)]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("method=gptq", r"this pass needs calibration tokens: give tokens=FILE\.npy"),
        ('method=gptq, tokens="none.npy"', r"none\.npy: cannot be read as an array of tokens"),
        ('tokens="none.npy"', "method mse uses neither tokens nor a folder; method=gptq does"),
        ('method=absmax, folder="x"', "method absmax uses neither tokens nor a folder"),
        ("method=gptq, damping=-1.0", r"damping of -1\.0, expected 0 or more"),
        ("group=-1", r"groups of -1, expected 0 \(one scale a row\) or more"),
        ("to=f4e2m1, group=16, scale=f8e8m0", "groups of 16, expected 32 with scales of f8e8m0"),
        ("to=f4e2m1, group=32, scale=f8e4m3", "groups of 32, expected 16 with scales of f8e4m3"),
        ("to=i4, group=16, scale=f8e4m3", "scales of f8e4m3 are those of NVFP4, with codes of f4e2m1, not i4"),
        ("to=i8, group=32, scale=f8e8m0", "scales of f8e8m0 are those of MXFP4 and MXFP8, codes are floats, not i8"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: str, problem: str) -> None:
    with pytest.raises(PassError, match=problem):
        run_passes(wide_blocks(1, 8, 24), parse_passes(f"quantize-weights{{{options}}}"))


@pytest.mark.parametrize("method", ["absmax", "mse", "gptq"])
@pytest.mark.parametrize("strange", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_named(strange: float, method: str, rows: Path) -> None:
    program = wide_blocks(2, 8, 24)
    array = program.weights["down.1"].evaluate()
    array[3, 20] = strange
    given = f', tokens="{rows}"' if method == "gptq" else ""
    message = rf"weight 'down\.1' of block\.1\.down cannot be quantized: element \[3, 20\] is {strange}"
    with pytest.raises(PassError, match=message):
        run_passes(program, parse_passes(f"quantize-weights{{method={method}{given}}}"))


def test_too_few_tokens_are_refused(tmp_path: Path) -> None:
    numpy.save(tmp_path / "few.npy", tokens(2, 8).numpy())
    with pytest.raises(PassError, match="16 calibration tokens are too few"):
        gptq(wide_blocks(1, 8, 24), tmp_path / "few.npy")


def test_experts_are_rounded_to_nearest_which_is_told(rows: Path) -> None:
    program = wide_blocks(1, 8, 24)
    graph = program.graphs["forward"]
    generator = torch.Generator().manual_seed(1)

    def stack(name: str, *shape: int) -> Value:
        return graph.weight(program.add_weight(name, StoredArray.of(torch.randn(shape, generator=generator))))

    head = next(op for op in graph if op.location == "head")
    build, x = Builder(graph, head, "experts"), head.required("x")
    shares, indices = build.op(ops.topk, x, k=2, axis=-1).results
    chosen = build(ops.remainder, indices, build(ops.constant, value=3, dtype=DType.I64))
    y = build(ops.moe_experts, x, chosen, shares, stack("up", 3, 8, 8), stack("low", 3, 8, 8), kind="relu", gated=False)
    graph.set_operand(head, 0, y)
    numbers = program.weights["low"].evaluate()
    passes = parse_passes(f'quantize-weights{{to=u4, group=8, method=gptq, tokens="{rows}"}}')
    (record,) = run_passes(program, passes).records
    assert [str(m) for m in record.near_misses] == [
        f"quantize-weights at experts: '{name}' is rounded to nearest: calibration is of linear layers"
        for name in ("up", "low")
    ]
    nearest = ops.round_to_nearest.evaluate(
        [numbers], {**ops.round_to_nearest.complete({"to": DType.U4, "group": 8, "search": "mse"})}
    )
    assert torch.equal(values(program)["low.quantized"], nearest.dequantize(torch.float64))
