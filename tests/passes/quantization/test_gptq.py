"""GPTQ against its equations written out, on small matrices; and that it does what it is for."""

from __future__ import annotations

import pytest
import torch

from graphwright.ir import DType, PassError, QuantizedType
from graphwright.ir.rounding import quantize
from graphwright.ir.types import CODE_TYPES
from graphwright.passes.quantization import gptq as blocked
from graphwright.passes.quantization.gptq import Factor, round_with_compensation
from tests.ir.quantized_types import of
from tests.passes.quantization import obq
from tests.tensors import listed


def inputs(size: int, count: int, seed: int = 0) -> torch.Tensor:
    """Vectors [count, size] whose elements are correlated and of different size, as those of a model are."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.randn(size, size, generator=generator) * 0.4 + torch.eye(size)
    sizes = torch.rand(size, generator=generator) * 3
    return (torch.randn(count, size, generator=generator) @ mixed) * sizes


def weights(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("by_activation", [False, True])
@pytest.mark.parametrize("element", [DType.I4, DType.U4, DType.I3, DType.U2], ids=str)
@pytest.mark.parametrize(("size", "group"), [(12, 4), (13, 5), (9, None), (7, 16)])
def test_codes_are_those_of_the_equations(
    element: DType, size: int, group: int | None, by_activation: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Blocks and pieces so small that there are several of each.
    monkeypatch.setattr(blocked, "BLOCK", 3)
    monkeypatch.setattr(blocked, "ROWS", 4)
    x, w = inputs(size, 40).double(), weights(6, size)
    x[:, 2] = 0  # an input that is never on
    moment = x.T @ x
    factor = Factor.of(moment, 0.01, by_activation)
    found = round_with_compensation(w, factor, of(element, (6, size), group), "absmax")
    codes, scales = obq.gptq(
        listed(w.double()),
        listed(moment),
        bits=element.bits,
        signed=found.type.symmetric,
        group=group or size,
        damping=0.01,
        order=listed(factor.order),
    )
    assert listed(found.codes) == codes
    # Both round scales to float32; float64 arithmetic in another order may move one to the neighbour.
    torch.testing.assert_close(found.scales.double(), torch.tensor(scales).double(), rtol=2**-23, atol=0)


def test_activation_order_is_that_of_falling_second_moments() -> None:
    x = inputs(16, 64)
    factor = Factor.of(x.T @ x, 0.01, True)
    sizes = x.square().sum(0)[factor.order]
    assert (sizes[1:] <= sizes[:-1] * (1 + 1e-6)).all()
    assert sorted(listed(factor.order)) == list(range(16))


FORMATS = [
    *(of(element, (24, 40), group) for element in sorted(CODE_TYPES, key=str) for group in (None, 16)),
    of(DType.U4, (24, 40), 16, scale_dtype=DType.F16, minimum=True),
    of(DType.F4E2M1, (24, 40), 32, scale_dtype=DType.F8E8M0),
    of(DType.F4E2M1, (24, 40), 16, scale_dtype=DType.F8E4M3, tensor_scale=True),
]


@pytest.mark.parametrize("by_activation", [False, True])
@pytest.mark.parametrize("type", FORMATS, ids=str)
def test_the_error_of_the_product_is_less_than_that_of_rounding_to_nearest(
    type: QuantizedType, by_activation: bool
) -> None:
    x, w = inputs(40, 400), weights(24, 40)
    factor = Factor.of(x.T @ x, 0.01, by_activation)
    kept = round_with_compensation(w, factor, type, "mse")
    assert kept.type == type
    assert kept.codes.shape == w.shape
    assert kept.scales.shape == tuple(d.constant for d in type.scale_shape)
    errors = [
        (x.double() @ (q.dequantize(torch.float64) - w).T).square().sum() for q in (kept, quantize(w, type, "mse"))
    ]
    assert errors[0] < errors[1]


def test_inputs_that_are_always_zero_leave_weights_rounded_to_nearest() -> None:
    w, type = weights(3, 8), of(DType.I4, (3, 8), 4)
    factor = Factor.of(torch.zeros(8, 8), 0.01, False)
    assert torch.equal(round_with_compensation(w, factor, type, "mse").codes, quantize(w.double(), type, "mse").codes)


def test_too_little_damping_is_refused() -> None:
    x = torch.ones(1, 4)
    with pytest.raises(PassError, match=r"the second moments of 4 inputs have no inverse at damping=0\.0: raise it"):
        Factor.of(x.T @ x, 0.0, False)
