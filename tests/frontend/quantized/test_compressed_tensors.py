"""The formats of compressed-tensors, and rounded inputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from graphwright.frontend import CheckpointError, capture
from graphwright.ir import DType, UnsupportedError, UserError, WeightError, run
from graphwright.passes import PIPELINES, run_passes
from tests.frontend.quantized.checkpoints import (
    Writer,
    Written,
    assert_read,
    assert_weights,
    codes,
    scales,
    spread,
    store,
    words,
    write,
)
from tests.tensors import listed, load_file

INT4 = {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32, "symmetric": True, "dynamic": False}
TOKEN = {"num_bits": 8, "type": "int", "strategy": "token", "symmetric": True, "dynamic": True}


def settings(weights: dict[str, Any], format: str = "pack-quantized", **group: Any) -> dict[str, Any]:
    groups = {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": None, **group}}
    return {
        "quant_method": "compressed-tensors",
        "format": format,
        "config_groups": groups,
        "ignore": ["lm_head"],
        "kv_cache_scheme": None,
        "sparsity_config": {},
        "quantization_status": "compressed",
    }


def packed(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Signed codes, plus half their range, as rows of words."""
    moved: list[list[int]] = listed(values + (1 << (bits - 1)))
    return torch.tensor([words(row, bits) for row in moved], dtype=torch.int32)


def writer(bits: int = 4, group: int | None = 32, symmetric: bool = True, shuffled: bool = False) -> Writer:
    def layer(name: str, weight: torch.Tensor, generator: torch.Generator) -> Written:
        rows, columns = weight.shape
        groups = 1 if group is None else -(-columns // group)
        half = 1 << (bits - 1)
        code = codes((rows, columns), -half, half - 1, generator)
        scale = scales(rows, groups, generator, torch.bfloat16)
        tensors = {
            "weight_packed": packed(code, bits),
            "weight_shape": torch.tensor([rows, columns]),
            "weight_scale": scale,
        }
        zero = torch.zeros(rows, groups, dtype=torch.int64)
        if not symmetric:
            zero = codes((rows, groups), -half, half - 1, generator)
            tensors["weight_zero_point"] = packed(zero.T, bits).T.contiguous()
        index = torch.arange(columns) // (group or columns)
        if shuffled:
            index = index[torch.randperm(columns, generator=torch.Generator().manual_seed(columns))]
            tensors["weight_g_idx"] = index.to(torch.int32)
        return Written(tensors, (code.double() - zero.double()[:, index]) * scale.double()[:, index])

    return layer


def integers(strategy: str, symmetric: bool = True) -> Writer:
    """Codes i8, with a scale a row or one for all."""

    def layer(name: str, weight: torch.Tensor, generator: torch.Generator) -> Written:
        rows, columns = weight.shape
        code = codes((rows, columns), -128, 127, generator)
        shape = (rows, 1) if strategy == "channel" else (1,)
        scale = scales(rows, 1, generator)[: shape[0]].reshape(shape)
        tensors = {"weight": code.to(torch.int8), "weight_scale": scale}
        zero = torch.zeros(shape)
        if not symmetric:
            zero = codes(shape, -128, 127, generator)
            tensors["weight_zero_point"] = zero.to(torch.int8)
        return Written(tensors, (code.double() - zero.double()) * scale.double())

    return layer


def floats(scale: Callable[[int, int, torch.Generator], tuple[torch.Tensor, torch.Tensor]]) -> Writer:
    """Codes e4m3, with scales as they are stored and spread over the weight."""

    def layer(name: str, weight: torch.Tensor, generator: torch.Generator) -> Written:
        code = torch.randn(weight.shape, generator=generator).to(torch.float8_e4m3fn)
        rows, columns = weight.shape
        stored, whole = scale(rows, columns, generator)
        return Written({"weight": code, "weight_scale": stored}, code.double() * whole.double())

    return layer


def channels(rows: int, columns: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    stored = scales(rows, 1, generator, torch.bfloat16)
    return stored, stored.expand(rows, columns)


def fp4(powers: bool) -> Writer:
    """Codes e2m1, two a byte, under powers of two for each 32 or e4m3 for each 16 and one divisor for all."""
    values = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], dtype=torch.float64)

    def layer(name: str, weight: torch.Tensor, generator: torch.Generator) -> Written:
        rows, columns = weight.shape
        code = codes((rows, columns), 0, 15, generator)
        tensors = {"weight_packed": (code[:, ::2] | code[:, 1::2] << 4).to(torch.uint8)}
        if powers:
            exponents = codes((rows, columns // 32), -8, -5, generator)
            tensors["weight_scale"] = (exponents + 127).to(torch.uint8)
            return Written(tensors, values[code] * spread(torch.exp2(exponents.double()), columns))
        scale = (torch.rand(rows, columns // 16, generator=generator) * 100 + 50).to(torch.float8_e4m3fn)
        divisor = 4096.0
        tensors |= {"weight_scale": scale, "weight_global_scale": torch.tensor([divisor])}
        return Written(tensors, values[code] * spread(scale, columns) / divisor)

    return layer


def test_a_checkpoint_computes_what_its_weights_say(tmp_path: Path) -> None:
    model = write(tmp_path, settings(INT4), writer())
    name = "q4<g32, sym, scale=bf16>"
    assert_read(tmp_path, model, *(f"{name}{size}" for size in ("[128, 64]", "[256, 64]", "[64, 64]", "[64, 128]")))


BYTES = {"num_bits": 8, "strategy": "channel"}
FLOATS = BYTES | {"type": "float"}
FP4 = {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}
ASYM = {"symmetric": False}

PACKED: list[tuple[dict[str, Any], Writer, str]] = [
    (INT4, writer(), "q4<g32, sym, scale=bf16>"),
    (INT4 | {"actorder": "group"}, writer(shuffled=True), "q4<g32, sym, scale=bf16>"),
    (INT4 | ASYM, writer(symmetric=False), "q4<g32, asym, scale=bf16>"),
    (INT4 | ASYM | {"num_bits": 3}, writer(3, symmetric=False), "q3<g32, asym, scale=bf16>"),
    (BYTES, writer(8, None), "q8<channel, sym, scale=bf16>"),
    (BYTES | ASYM, writer(8, None, symmetric=False), "q8<channel, asym, scale=bf16>"),
]
OTHERS: list[tuple[str, dict[str, Any], Writer, str]] = [
    ("int-quantized", BYTES, integers("channel"), "q8<channel, sym, scale=f16>"),
    ("int-quantized", BYTES | ASYM, integers("channel", False), "q8<channel, asym, scale=f16>"),
    ("int-quantized", {"num_bits": 8} | ASYM, integers("tensor", False), "q8<channel, asym, scale=f16>"),
    ("float-quantized", FLOATS, floats(channels), "qf8e4m3<channel, sym, scale=bf16>"),
    ("mxfp4-pack-quantized", FP4, fp4(True), "qf4e2m1<g32, sym, scale=f8e8m0>"),
    (
        "nvfp4-pack-quantized",
        FP4 | {"strategy": "tensor_group", "group_size": 16},
        fp4(False),
        "qf4e2m1<g16, sym, scale=f8e4m3, tensor>",
    ),
]


@pytest.mark.parametrize(
    ("format", "weights", "written", "type"), [*(("pack-quantized", *each) for each in PACKED), *OTHERS]
)
def test_formats(tmp_path: Path, format: str, weights: dict[str, Any], written: Writer, type: str) -> None:
    model = write(tmp_path, settings(weights, format), written)
    shuffled = "actorder" in weights
    assert_weights(tmp_path, model, type, shuffled=shuffled)


def test_columns_that_fill_no_word(tmp_path: Path) -> None:
    """stories260k has rows of 172: their last word is padded, and their last group cut short."""
    model = write(tmp_path, settings(INT4), writer(), intermediate_size=172)
    assert_weights(tmp_path, model, "q4<g32, sym, scale=bf16>")


def test_groups_of_layers_have_formats_of_their_own(tmp_path: Path) -> None:
    """v has eight bits, so that it comes apart from q and k, with which it was packed."""
    both = settings(INT4)
    both["config_groups"]["group_1"] = {"targets": ["re:.*v_proj$"], "weights": BYTES}
    four, wide = writer(), writer(8, None)

    def either(name: str, weight: torch.Tensor, generator: torch.Generator) -> Written | None:
        return (wide if name.endswith("v_proj") else four)(name, weight, generator)

    model = write(tmp_path, both, either)
    name = "q4<g32, sym, scale=bf16>"
    types = [f"{name}{size}" for size in ("[96, 64]", "[256, 64]", "[64, 64]", "[64, 128]")]
    assert_read(tmp_path, model, *types, "q8<channel, sym, scale=bf16>[32, 64]")


@pytest.mark.parametrize(
    ("to", "weights", "written"),
    [
        (DType.I8, BYTES, integers("channel")),
        (DType.F8E4M3, FLOATS, floats(channels)),
    ],
)
def test_inputs_that_are_rounded(tmp_path: Path, to: DType, weights: dict[str, Any], written: Writer) -> None:
    """Each layer but the head rounds its input, those that share an input once, and the pipeline leaves that so."""
    activations = TOKEN | {"type": "int" if to is DType.I8 else "float"}
    model = write(tmp_path, settings(weights, "int-quantized", input_activations=activations), written)
    program = capture(tmp_path)
    captured = program.clone()
    run_passes(program, PIPELINES["function"])
    rounding = [op for op in program.graphs["forward"] if op.name == "fake_quantize"]
    assert [op.attributes["to"] for op in rounding] == [to] * 4
    linear = [op for op in program.graphs["forward"] if op.name == "linear"]
    assert [op.required("x").owner in rounding for op in linear] == [True] * 4 + [False]
    ids = torch.arange(7)[None]
    first, last = (run(p.graphs["forward"], {"input_ids": ids}, "float64")["logits"] for p in (captured, program))
    torch.testing.assert_close(last, first, rtol=1e-6, atol=1e-6)
    with torch.no_grad():
        unrounded = model(ids).logits
    assert 0 < (first - unrounded).abs().max() < 0.1 * unrounded.abs().max()


# -- what is not read


def refused(folder: Path, kind: type[UserError], message: str) -> None:
    with pytest.raises(kind, match=message) as failure:
        capture(folder)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"format": "marlin-24"}, UnsupportedError, "compressed-tensors in the format 'marlin-24' is not read"),
        ({"kv_cache_scheme": BYTES}, UnsupportedError, r"rounded KV cache \(kv_cache_scheme\)"),
        ({"sparsity_config": {"format": "sparse-24-bitmask"}}, UnsupportedError, "weights left out"),
        ({"config_groups": {"g": {"weights": INT4}}}, CheckpointError, r"config_groups\.g\.targets is missing$"),
        ({"config_groups": {"g": {"targets": ["re:("]}}}, CheckpointError, r"targets is not valid: re:\(: missing"),
        ({"config_groups": {}}, UnsupportedError, "layer '.*' has quantized tensors, but no group in config_groups"),
        (
            {"config_groups": {"g": {"targets": ["Linear"]}}},
            UnsupportedError,
            "in config_groups no 'weights'",
        ),
    ],
)
def test_settings_that_are_not_read(
    tmp_path: Path, change: dict[str, Any], kind: type[UserError], message: str
) -> None:
    write(tmp_path, settings(INT4) | change, writer())
    refused(tmp_path, kind, message)


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ({"input_activations": TOKEN | {"dynamic": False, "strategy": "tensor"}}, "a scale a tensor, dynamic: False"),
        ({"input_activations": TOKEN | {"num_bits": 4}}, "rounds its inputs in a way that is not read.*of 4 bits"),
        ({"input_activations": TOKEN | {"symmetric": False}}, "int of 8 bits, asymmetric"),
        ({"output_activations": TOKEN}, "rounds its outputs"),
        ({"weights": INT4 | {"num_bits": 5}}, "has weights of 5 bits"),
        ({"weights": INT4 | {"num_bits": 6, "type": "float"}}, "has weights in floats of 6 bits"),
    ],
)
def test_layers_that_are_not_read(tmp_path: Path, group: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"weights": INT4} | group
    write(tmp_path, settings(**options), writer())
    refused(tmp_path, UnsupportedError, rf"layer 'model\.layers\..*{message}")


LAYER = "model.layers.0.self_attn.k_proj"


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("weight_shape", None, "has '.*' but no 'weight_shape'"),
        ("weight_scale", torch.ones(32, 3), r"weight_scale' is f32\[32, 3\], expected f16 or bf16 or f32\[32, 2\]"),
        ("weight_shape", torch.tensor([32, 72]), r"weight_packed' is i32\[32, 8\], expected i32\[32, 9\]"),
        ("input_scale", torch.ones(1), "input_scale' has no place in LlamaForCausalLM"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, part: str, value: torch.Tensor | None, message: str) -> None:
    write(tmp_path, settings(INT4), writer())
    tensors = load_file(tmp_path / "model.safetensors")
    tensors.pop(f"{LAYER}.{part}", None)
    if value is not None:
        tensors[f"{LAYER}.{part}"] = value
    store(tmp_path, tensors)
    refused(tmp_path, WeightError, rf"model\.safetensors: .*{message}")


def test_codes_without_scales(tmp_path: Path) -> None:
    write(tmp_path, settings(FLOATS), floats(channels))
    tensors = load_file(tmp_path / "model.safetensors")
    del tensors[f"{LAYER}.weight_scale"]
    store(tmp_path, tensors)
    refused(tmp_path, WeightError, r"k_proj\.weight' is f8e4m3\[32, 64\], and there are no scales for it")
