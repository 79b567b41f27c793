"""Roundings to bfloat16 that the author of a float32 module wrote, in compiled functions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import graphwright


class Rounded(nn.Module):
    """Its weights and inputs are multiples of 1/64 that float32 sums exactly, so only the rounding rounds."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a, self.b = (nn.Parameter(torch.randint(-64, 65, (8, 8), generator=generator) / 64) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        return (x @ self.a).bfloat16().float() @ self.b


@pytest.mark.parametrize("backend", ["onnx", "tvm"])
def test_a_rounding_in_a_float32_module_is_kept(tmp_path: Path, backend: str) -> None:
    module = Rounded().eval()
    x = torch.randint(-64, 65, (3, 4, 8), generator=torch.Generator().manual_seed(1)) / 64
    compiled = graphwright.compile_function(module, torch.ones(2, 4, 8), output=tmp_path / "f", backend=backend)
    (found,) = compiled(x=x.numpy()).values()
    wanted = module(x).detach()
    assert torch.equal(torch.tensor(found), wanted)
    assert not torch.equal(x @ module.a @ module.b, wanted)
