from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from graphwright.ir import IRTypeError, ops
from graphwright.ir.text import parse_type
from tests.ir.evaluation import evaluate
from tests.tensors import Tolerance, manual_seed

manual_seed(0)
TIGHT = Tolerance(rtol=1e-13, atol=1e-13)
PLAIN: dict[str, Any] = {"stride": (1,), "padding": (0, 0), "dilation": (1,)}


def test_one_axis_in_groups() -> None:
    x, weight, bias = (torch.randn(s, dtype=torch.float64) for s in ((2, 4, 9), (6, 2, 3), (6,)))
    found = evaluate(ops.convolution, x, weight, bias, stride=(2,), padding=(3, 1), dilation=(2,), groups=2)
    wanted = F.conv1d(F.pad(x, (3, 1)), weight, bias, stride=2, dilation=2, groups=2)
    torch.testing.assert_close(found, wanted, **TIGHT)


def test_two_axes() -> None:
    x, weight = torch.randn(2, 3, 7, 8, dtype=torch.float64), torch.randn(5, 3, 2, 3, dtype=torch.float64)
    found = evaluate(ops.convolution, x, weight, stride=(1, 2), padding=(1, 0, 2, 3), dilation=(1, 1))
    wanted = F.conv2d(F.pad(x, (0, 3, 1, 2)), weight, stride=(1, 2))
    torch.testing.assert_close(found, wanted, **TIGHT)


def test_a_symbolic_length_stays_a_polynomial() -> None:
    types = [parse_type("f32[B, 3, 14*H+5, 32]"), parse_type("f32[8, 3, 14, 16]"), None]
    attributes = ops.convolution.complete({"stride": (14, 16), "padding": (0,) * 4, "dilation": (1, 1)})
    assert str(ops.convolution.infer(types, attributes)[0]) == "f32[B, 8, H, 2]"


@pytest.mark.parametrize(
    ("operands", "attributes", "problem"),
    [
        (("f32[B, 4]", "f32[4, 4]"), PLAIN, "need a batch, channels"),
        (("f32[B, 4, S]", "f32[4, 3, 2]"), PLAIN, "channels of x and of weight times groups: 4 and 3 differ"),
        (("f32[B, 4, S]", "f32[5, 2, 2]"), {**PLAIN, "groups": 2}, "5 output channels do not divide over 2 groups"),
        (("f32[B, 4, S]", "f32[5, 4, 2]"), {**PLAIN, "stride": (2,)}, "give no polynomial"),
        (("f32[B, 4, 3]", "f32[5, 4, 4]"), PLAIN, "the window is longer than its axis"),
        (("f32[B, 4, S]", "f32[5, 4, 2]"), {**PLAIN, "padding": (1,)}, "for 1 spatial axes"),
        (("f32[B, 4, S]", "f32[5, 4, 2]"), {**PLAIN, "padding": (-1, 0)}, "padding"),
        (("f32[B, 4, S]", "f32[5, 4, 2]", "f32[4]"), PLAIN, "bias and output channels: 4 and 5 differ"),
        (("f32[B, 4, S]", "f16[5, 4, 2]"), PLAIN, "element types differ"),
    ],
)
def test_refused(operands: tuple[str, ...], attributes: dict[str, Any], problem: str) -> None:
    types = ops.convolution.pad([parse_type(o) for o in operands])
    with pytest.raises(IRTypeError, match=problem):
        ops.convolution.infer(types, ops.convolution.complete(attributes))
