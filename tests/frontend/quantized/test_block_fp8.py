"""DeepSeek's format: e4m3 weights with a scale a block, inputs rounded in groups."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from graphwright.frontend import CheckpointError, capture
from graphwright.ir import DType, UnsupportedError, UserError
from graphwright.passes import PIPELINES, run_passes
from tests.frontend.quantized.checkpoints import Written, assert_weights, store, unquantized, write
from tests.tensors import load_file

BLOCK = 48


def settings(**changes: Any) -> dict[str, Any]:
    return {"quant_method": "fp8", "weight_block_size": [BLOCK, 32], "activation_scheme": "dynamic"} | changes


def layer(name: str, weight: torch.Tensor, generator: torch.Generator) -> Written:
    rows, columns = weight.shape
    code = torch.randn(weight.shape, generator=generator).to(torch.float8_e4m3fn)
    # Few digits, so that float32 holds a code times its scale.
    scale = (torch.rand(-(-rows // BLOCK), columns // 32, generator=generator) * 0.05).bfloat16().float()
    whole = scale.double()[torch.arange(rows) // BLOCK][:, torch.arange(columns) // 32]
    return Written({"weight": code, "weight_scale_inv": scale}, code.double() * whole)


def test_blocks_are_groups_whose_scales_rows_share(tmp_path: Path) -> None:
    model = write(tmp_path, settings(), layer)
    assert_weights(tmp_path, model, "qf8e4m3<g32, sym>")
    program = capture(tmp_path)
    run_passes(program, PIPELINES["function"])
    rounding = [op for op in program.graphs["forward"] if op.name == "fake_quantize"]
    assert [(op.attributes["to"], op.attributes["group"]) for op in rounding] == [(DType.F8E4M3, 32)] * 4


def test_experts_that_round_their_inputs(tmp_path: Path) -> None:
    """They become one weight, multiplied by one op, in front of which nothing is rounded."""
    write(tmp_path, settings(), unquantized, "mixtral")
    tensors = load_file(tmp_path / "model.safetensors")
    for expert in [name for name in tensors if ".experts." in name]:
        written = layer(expert, tensors.pop(expert), torch.Generator().manual_seed(0)).tensors
        tensors |= {f"{expert.removesuffix('.weight')}.{part}": value for part, value in written.items()}
    store(tmp_path, tensors)
    with pytest.raises(UnsupportedError, match=r"layer '.*\.experts\.0\..*' rounds its inputs, and is part of another"):
        capture(tmp_path)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"weight_block_size": None}, UnsupportedError, "fp8 without weight_block_size is not read"),
        ({"activation_scheme": "static"}, UnsupportedError, r"stored scales of activations \(static\) is not read"),
        ({"weight_block_size": [0, 128]}, CheckpointError, r"weight_block_size\.0 is 0: must be above 0$"),
    ],
)
def test_settings_that_are_not_read(
    tmp_path: Path, change: dict[str, Any], kind: type[UserError], message: str
) -> None:
    write(tmp_path, settings(**change), layer)
    with pytest.raises(kind, match=message):
        capture(tmp_path)
