"""SmoothQuant's scales, and that nothing but rounding follows from them."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import torch

from graphwright.ir import PassError
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.calibration import calibrate
from graphwright.passes.quantization.smooth_quant import smoothing_scales
from tests.passes.graphs import assert_same_values
from tests.passes.quantization.weight_folds.block import block


def test_scales_by_hand() -> None:
    found = smoothing_scales(torch.tensor([16.0, 4.0, 0.0]), torch.tensor([1.0, 4.0, 1.0]), 0.5)
    torch.testing.assert_close(found, torch.tensor([4.0, 1.0, 1e-5**0.5]))


def test_inputs_and_weights_meet_half_way(tmp_path: Path) -> None:
    tokens = torch.randint(10, (6, 12), generator=torch.Generator().manual_seed(0))
    path = tmp_path / "tokens.npy"
    numpy.save(path, tokens.numpy())
    before, program = block(dtype="f64"), block(dtype="f64")
    (record,) = run_passes(program, parse_passes(f'smooth-quant{{tokens="{path}"}}')).records
    assert record.hits == {"smooth-quant": 5}
    assert not record.lossy
    assert_same_values(before.graphs["forward"], program.graphs["forward"])
    for site, statistics in calibrate(program, tokens, lambda op: op.location == "mlp.down"):
        weight = site.ops[0].required("weight").weight
        assert weight is not None
        # max|x| / s and max|w| s are one number where s is the square root of max|x| / max|w|
        torch.testing.assert_close(statistics.largest, weight.evaluate().abs().amax(0).float(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("alpha", ["1.5", "-0.1"])
def test_alpha_is_a_share(alpha: str) -> None:
    with pytest.raises(PassError, match=rf"^smooth-quant: alpha is {alpha}, expected a number from 0 to 1$"):
        run_passes(block(), parse_passes(f"smooth-quant{{alpha={alpha}}}"))
