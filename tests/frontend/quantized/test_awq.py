"""AWQ's format: eight outputs a word, the even ones before the odd ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from graphwright.frontend import CheckpointError, capture
from graphwright.ir import UnsupportedError, UserError
from tests.frontend.compare import assert_same_function
from tests.frontend.quantized.checkpoints import (
    Written,
    assert_read,
    assert_weights,
    codes,
    edit_config,
    scales,
    signed,
    write,
)
from tests.tensors import listed

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def settings(**changes: Any) -> dict[str, Any]:
    return {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True, "version": "gemm"} | changes


def packed(values: torch.Tensor) -> torch.Tensor:
    """[n, out] to [n, out / 8]: the i-th code of a word is output ORDER[i] of eight."""
    codes: list[list[int]] = listed(values)
    rows: list[list[int]] = []
    for row in codes:
        eights = [row[i : i + 8] for i in range(0, len(row), 8)]
        rows.append([signed(sum(eight[o] << (4 * i) for i, o in enumerate(ORDER))) for eight in eights])
    return torch.tensor(rows, dtype=torch.int32)


def layer(name: str, weight: torch.Tensor, generator: torch.Generator, group: int = 32) -> Written:
    rows, columns = weight.shape
    groups = columns // group
    code, zero = codes((columns, rows), 0, 15, generator), codes((groups, rows), 0, 15, generator)
    scale = scales(groups, rows, generator)
    tensors = {"qweight": packed(code), "qzeros": packed(zero), "scales": scale}
    index = torch.arange(columns) // group
    return Written(tensors, ((code.double() - zero.double()[index]) * scale.double()[index]).T.contiguous())


def test_a_checkpoint_computes_what_its_weights_say(tmp_path: Path) -> None:
    model = write(tmp_path, settings(), layer)
    name = "q4<g32, asym, scale=f16>"
    assert_weights(tmp_path, model, name)
    assert_read(tmp_path, model, *(f"{name}{size}" for size in ("[128, 64]", "[256, 64]", "[64, 64]", "[64, 128]")))


def test_layers_that_are_not_quantized(tmp_path: Path) -> None:
    """Which ones these are is seen in the files; two projections of one input come apart if one of them is."""
    each = settings(modules_to_not_convert=["v_proj", "down_proj"])

    def some(name: str, weight: torch.Tensor, generator: torch.Generator) -> Written | None:
        return None if name.endswith(("v_proj", "down_proj")) else layer(name, weight, generator)

    model = write(tmp_path, each, some)
    name = "q4<g32, asym, scale=f16>"
    sizes = ("[96, 64]", "[256, 64]", "[64, 64]")
    assert_read(tmp_path, model, *(f"{name}{size}" for size in sizes), floats=3)


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"zero_point": False}, UnsupportedError, r"AWQ without zero points \(zero_point\) is not read"),
        ({"version": "gemv"}, UnsupportedError, "AWQ of the version 'gemv' is not read"),
        ({"bits": 8}, CheckpointError, "quantization_config: bits is 8: must be one of 4$"),
        ({"group_size": -2}, CheckpointError, "group_size is -2: must be at least -1$"),
    ],
)
def test_settings_that_are_not_read(
    tmp_path: Path, change: dict[str, Any], kind: type[UserError], message: str
) -> None:
    write(tmp_path, settings(**change), layer)
    with pytest.raises(kind, match=message):
        capture(tmp_path)


def test_settings_beside_a_plain_configuration(tmp_path: Path) -> None:
    """As AutoAWQ wrote them before config.json had them."""
    model = write(tmp_path, settings(), layer)
    edit_config(tmp_path, quantization_config=None)
    said = {"zero_point": True, "q_group_size": 32, "w_bit": 4, "version": "GEMM"}
    (tmp_path / "quant_config.json").write_text(json.dumps(said))
    assert_same_function(capture(tmp_path), model, ((2, 7),))
    edit_config(tmp_path, quantization_config=settings(group_size=64))
    with pytest.raises(CheckpointError, match=r"quant_config\.json: it contradicts .*config\.json in 'group_size'"):
        capture(tmp_path)
