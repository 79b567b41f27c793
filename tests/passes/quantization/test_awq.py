"""AWQ against a float64 implementation of its own, and that nothing but rounding follows from it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor

from graphwright.ir import Interpreter, PassError, Program, StoredArray
from graphwright.passes import parse_passes, run_passes
from tests.passes.graphs import assert_same_values
from tests.passes.quantization.weight_folds.block import block


@pytest.fixture
def tokens(tmp_path: Path) -> str:
    path = tmp_path / "tokens.npy"
    numpy.save(path, numpy.random.default_rng(0).integers(0, 10, (6, 12)))
    return str(path)


def rounded(weight: Tensor, bits: int, group: int) -> Tensor:
    """Symmetric round-to-nearest of a float64 weight, group by group, in plain steps."""
    result = weight.clone()
    most = 2 ** (bits - 1) - 1
    for row in result:
        for start in range(0, len(row), group):
            part = row[start : start + group]
            scale = part.abs().max() / most
            row[start : start + group] = (part / scale).round().clamp(-most - 1, most) * scale
    return result


def searched(weights: list[Tensor], inputs: Tensor, shared: list[list[int]], bits: int, group: int) -> Tensor:
    """The scale of each channel by AWQ (Lin et al. 2023, eqs. 4 and 5) on the inputs [n, in] themselves; channels in
    one list of `shared` have one scale."""
    best, least = torch.ones(inputs.shape[1], dtype=torch.float64), None
    magnitude = inputs.abs().mean(0)
    for step in range(20):
        means = torch.stack([magnitude[channels].mean() for channels in shared]) ** (step / 20)
        means = means / (means.max() * means.min()).sqrt()
        scale = torch.empty_like(magnitude)
        for channels, mean in zip(shared, means, strict=True):
            scale[channels] = mean
        error = sum(float((inputs @ (rounded(w * scale, bits, group) / scale - w).T).square().sum()) for w in weights)
        if least is None or error < least:
            best, least = scale, error
    return best


def unlike(dtype: str = "f32") -> Program:
    """The block with channels of unlike size, as trained models have them, and no number on a tie of rounding."""
    program = block(dtype=dtype)
    generator = torch.Generator().manual_seed(2)
    for weight in program.weights.values():
        value = weight.evaluate()
        weight.expression = StoredArray.of(value + 0.01 * torch.randn(value.shape, generator=generator))
    for i, name in enumerate(("norm1", "norm2", "norm3")):
        weight = program.weights[name]
        weight.expression = StoredArray.of(torch.logspace(-1, 1, 8).roll(3 * i).to(weight.evaluate().dtype))
    return program


LAYERS = {
    "qkv": [[i] for i in range(8)],
    "o": [[0, 2], [1, 3], [4, 6], [5, 7]],
    "gate_up": [[i] for i in range(8)],
    "down": [[i] for i in range(6)],
    "table": [[i] for i in range(8)],
}
"""The layers by their weights, and which of their channels have a scale in common."""


def expected(program: Program, tokens: str, bits: int) -> dict[str, Tensor]:
    """The weights in float64 as AWQ scales them."""
    graph = program.graphs["forward"]
    given = {"input_ids": torch.as_tensor(numpy.load(tokens))}
    linears = {op.required("weight").name: op for op in graph if op.name == "linear"}
    weights = {name: weight.evaluate().double() for name, weight in program.weights.items()}
    scales: dict[str, Tensor] = {}
    for name, shared in LAYERS.items():
        (x,) = Interpreter("float64").run_values(graph, given, [linears[name].required("x")])
        scales[name] = searched([weights[name]], x.flatten(0, 1), shared, bits, 4)
    scaled = {name: weights[name] * scales[name] for name in LAYERS}
    scaled["qkv"][12:] /= scales["o"][[0, 1, 4, 5], None]
    scaled["gate_up"][6:] /= scales["down"][:, None]
    assert sum(bool((s != 1).any()) for s in scales.values()) >= 3
    return scaled


@pytest.mark.parametrize("bits", [4, 3])
def test_scales_and_codes_are_those_of_an_independent_float64_implementation(tokens: str, bits: int) -> None:
    program = unlike()
    wanted = expected(program, tokens, bits)
    options = f"to=i{bits}, group=4, method=absmax"
    passes = parse_passes(f'awq{{tokens="{tokens}", {options}}}, quantize-weights{{{options}}}')
    run_passes(program, passes[:1])
    found = {name.removesuffix(".folded"): weight.evaluate() for name, weight in program.weights.items()}
    for name, weight in wanted.items():
        # float32 rounds a weight twice, and each scale a few times
        torch.testing.assert_close(found[name].double(), weight, rtol=1e-5, atol=1e-6)
    run_passes(program, passes[1:])
    for name, weight in wanted.items():
        (stored,) = (w for n, w in program.weights.items() if n.startswith(name) and n.endswith("quantized"))
        value: Any = stored.evaluate()
        torch.testing.assert_close(value.dequantize(torch.float64), rounded(weight, bits, 4), rtol=1e-5, atol=1e-6)


def test_it_is_lossless_and_takes_every_layer(tokens: str) -> None:
    before, after = unlike("f64"), unlike("f64")
    (record,) = run_passes(after, parse_passes(f'awq{{tokens="{tokens}", group=4}}')).records
    assert record.hits == {"awq": 5}
    assert not record.lossy
    assert not record.near_misses
    assert_same_values(before.graphs["forward"], after.graphs["forward"])


def test_body_and_head_are_chosen_apart(tokens: str) -> None:
    for layers, changed in (
        ("head", {"norm3", "table.folded"}),
        ("body", set(LAYERS) - {"table"} | {"norm1", "norm2"}),
    ):
        before, after = unlike(), unlike()
        run_passes(after, parse_passes(f'awq{{tokens="{tokens}", group=4, layers={layers}}}'))
        found = {n for n, w in after.weights.items() if not torch.equal(w.evaluate(), before_value(before, n))}
        assert found - {"qkv_bias"} == changed


def before_value(program: Program, name: str) -> Tensor:
    return program.weights[name.removesuffix(".folded")].evaluate()


def test_a_layer_whose_input_cannot_be_scaled_is_told(tokens: str) -> None:
    program = block('%19 = activation(%18) {kind="gelu"} : f32[B, S, 6]  at mlp.unit')
    (record,) = run_passes(program, parse_passes(f'awq{{tokens="{tokens}", group=4}}')).records
    assert [str(miss) for miss in record.near_misses] == [
        "awq at mlp.down: its input cannot be scaled: it cannot pass activation (gelu) at mlp.unit"
    ]


def test_weights_that_are_no_numbers_are_named(tokens: str) -> None:
    program = block()
    program.weights["down"].expression = StoredArray.of(torch.full((8, 6), float("nan")))
    with pytest.raises(PassError, match=r"^awq: weight 'down' holds numbers that are not finite$"):
        run_passes(program, parse_passes(f'awq{{tokens="{tokens}"}}'))


def test_tokens_are_needed() -> None:
    with pytest.raises(PassError, match=r"^this pass needs calibration tokens"):
        run_passes(block(), parse_passes("awq"))
