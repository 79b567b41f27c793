"""Convolutions under LoRA: W + s reshape(B A), with A [r, in, kernel...] and B [out, r, 1...] as matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn

from graphwright.frontend.adapters import read_adapter
from graphwright.frontend.adapters.merging import merge_adapter
from graphwright.ir import StoredArray, UnsupportedError, WeightError
from tests.frontend.adapters.saved import RANK, Tensors, adapter, random
from tests.tensors import norm

PATH = "part.conv"
SCALING = 8 / RANK
KERNELS = [nn.Conv1d(3, 6, 5), nn.Conv2d(3, 6, (2, 5)), nn.Conv2d(3, 6, 1), nn.Conv3d(3, 6, (1, 2, 3))]


class Model(transformers.PreTrainedModel):
    """A convolution in a model of transformers."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__(transformers.PreTrainedConfig())  # pyright: ignore[reportUnknownMemberType] - partly untyped
        self.part = nn.ModuleDict({"conv": conv})


def _pair(conv: Any) -> Tensors:
    """A and B as PEFT makes them for a convolution: one of its kernel to r channels, and one of 1 from them."""
    ones = (1,) * len(conv.kernel_size)
    return {
        f"{PATH}.lora_A.weight": random(RANK, *conv.weight.shape[1:]),
        f"{PATH}.lora_B.weight": random(len(conv.weight), RANK, *ones, seed=1),
    }


def _merged(conv: Any, tensors: Tensors, folder: Path, **settings: Any) -> torch.Tensor:
    model = Model(conv)
    weights = {name: StoredArray.of(value.detach()) for name, value in model.state_dict().items()}
    options: dict[str, Any] = {"target_modules": ["conv"], **settings}
    found = read_adapter(adapter(folder / "adapter", tensors, **options))
    return merge_adapter(found, model, weights, [])[f"{PATH}.weight"].evaluate()


def _sum(conv: Any, tensors: Tensors) -> torch.Tensor:
    """In float64."""
    a, b = (tensors[f"{PATH}.lora_{part}.weight"].double().flatten(1) for part in "AB")
    return conv.weight.detach().double() + SCALING * (b @ a).reshape(conv.weight.shape)


@pytest.mark.parametrize("conv", KERNELS, ids=str)
def test_convolutions(tmp_path: Path, conv: Any) -> None:
    tensors = _pair(conv)
    got, wanted = _merged(conv, tensors, tmp_path), _sum(conv, tensors)
    # Sums of r + 1 products of at most 1 in float32, each rounded by at most 2^-24 of it.
    assert (got.double() - wanted).abs().max() <= (RANK + 2) * 2**-24
    assert (wanted - conv.weight).abs().max() > 1e-3


def test_what_a_merged_convolution_computes(tmp_path: Path) -> None:
    """The two convolutions one after the other, as the adapter was trained."""
    conv: Any = nn.Conv2d(3, 6, (2, 5), stride=2, padding=1).double()
    tensors = _pair(conv)
    x = torch.randn(2, 3, 9, 11, dtype=torch.float64)
    a, b = (tensors[f"{PATH}.lora_{part}.weight"].double() for part in "AB")
    functional = torch.nn.functional
    wanted = conv(x) + SCALING * functional.conv2d(functional.conv2d(x, a, stride=2, padding=1), b)
    got = functional.conv2d(x, _merged(conv, tensors, tmp_path), conv.bias, stride=2, padding=1)
    torch.testing.assert_close(got, wanted)


def test_magnitudes_of_a_convolution(tmp_path: Path) -> None:
    """DoRA: each output channel's kernel, as one vector, has the length that its magnitude says."""
    conv = nn.Conv2d(3, 6, (2, 5))
    tensors = {**_pair(conv), f"{PATH}.lora_magnitude_vector": random(1, 6, 1, 1).abs() + 1}
    summed, magnitude = _sum(conv, tensors), tensors[f"{PATH}.lora_magnitude_vector"].double().reshape(6, 1, 1, 1)
    wanted = magnitude * summed / norm(summed.flatten(1), dim=1).reshape(6, 1, 1, 1)
    torch.testing.assert_close(_merged(conv, tensors, tmp_path, use_dora=True), wanted.float())


def test_what_is_refused(tmp_path: Path) -> None:
    grouped = nn.Conv1d(4, 6, 5, groups=2)
    with pytest.raises(UnsupportedError, match=r"'part\.conv' is a Conv1d, where LoRA is not merged$"):
        _merged(grouped, _pair(grouped), tmp_path)
    wide = nn.Conv2d(3, 6, (2, 5))
    with pytest.raises(WeightError, match=r"'part\.conv' has A .* do not fit"):
        _merged(wide, _pair(nn.Conv2d(3, 6, (2, 3))), tmp_path)
    other = {"part.other.bias": random(6)}
    model = Model(wide)
    model.part.add_module("other", nn.Linear(6, 6))
    found = read_adapter(adapter(tmp_path / "other", other, target_modules=["conv"]))
    weights = {name: StoredArray.of(value.detach()) for name, value in model.state_dict().items()}
    with pytest.raises(WeightError, match=r"'part\.conv' is among 'target_modules', but there are no tensors"):
        merge_adapter(found, model, weights, [])
