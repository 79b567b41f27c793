"""Factors of the second moment of a layer's inputs, by which errors of its weight are weighed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from graphwright.ir.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

DAMPING = 0.01
"""What is added to the diagonal, as a part of its mean: inputs that the calibration never varied keep a cost, and the
factors exist (Frantar et al. 2022, GPTQ, section 3.3)."""


def damped(moment: Tensor) -> Tensor:
    """A second moment [in, in] in float64, positive definite, also where some inputs were always zero."""
    moment = moment.double()
    mean = float(moment.diagonal().mean()) or 1.0
    return moment + DAMPING * mean * torch.eye(len(moment), dtype=torch.float64)


def lower_factor(moment: Tensor) -> Tensor:
    """L [in, in], lower triangular, with L Lᵀ the damped moment: the output error of D is the Frobenius norm of D L."""
    linalg: Any = torch.linalg  # untyped
    return linalg.cholesky(damped(moment))


def inverse_factor(moment: Tensor) -> Tensor:
    """U [in, in], upper triangular, with Uᵀ U the inverse of the damped moment.

    Row j of U is, but for the factor U[j, j], the first row of the inverse of the moment of inputs j and later: what
    the optimal brain surgeon needs when the inputs before j are fixed.
    """
    # With the order of the inputs turned round, the factor is R upper triangular with R Rᵀ the moment; U is R⁻¹.
    linalg: Any = torch.linalg  # untyped
    upper = linalg.cholesky(damped(moment).flip(0, 1)).flip(0, 1)
    return linalg.solve_triangular(upper, torch.eye(len(upper), dtype=torch.float64), upper=True)
