"""SparseGPT against the optimal brain surgeon written out: an inverse for each input, no factors, no blocks of work."""

from __future__ import annotations

import numpy
import pytest
import torch

from graphwright.passes.compression.moments import DAMPING, inverse_factor, lower_factor
from graphwright.passes.compression.sparsegpt import BLOCK, sparsegpt
from tests.tensors import listed


def surgeon(weight: numpy.ndarray, moment: numpy.ndarray, sparsity: float | None) -> numpy.ndarray:
    """Prunes row by row, in float64; sparsity None is 2:4. Each block, or cell, gets its mask when it is reached."""
    weight, size = weight.copy(), weight.shape[1]
    hessian = moment + DAMPING * numpy.trace(moment) / size * numpy.eye(size)
    inverses: list[numpy.ndarray] = [numpy.linalg.inv(hessian[j:, j:]) for j in range(size)]
    step = 4 if sparsity is None else BLOCK
    mask = numpy.zeros(weight.shape, bool)
    for j in range(size):
        if j % step == 0:
            stop = min(j + step, size)
            scores = weight[:, j:stop] ** 2 / numpy.array([inverses[i][0, 0] for i in range(j, stop)])
            if sparsity is None:
                for row in range(len(weight)):
                    for i in numpy.argsort(scores[row], kind="stable")[: max(0, 2 - (step - (stop - j)))]:
                        mask[row, j + i] = True
            else:
                lowest = numpy.argsort(scores, axis=None, kind="stable")[: round(sparsity * scores.size)]
                mask[numpy.unravel_index(lowest, scores.shape)[0], j + numpy.unravel_index(lowest, scores.shape)[1]] = (
                    True
                )
        for row in numpy.flatnonzero(mask[:, j]):
            weight[row, j:] -= weight[row, j] / inverses[j][0, 0] * inverses[j][0]
            weight[row, j] = 0.0
    return weight


@pytest.mark.parametrize("size", [24, 26, BLOCK + 14])
@pytest.mark.parametrize("sparsity", [0.3, 0.5, None])
def test_agrees_with_the_surgeon(size: int, sparsity: float | None) -> None:
    generator = torch.Generator().manual_seed(size)
    weight = torch.randn(7, size, generator=generator, dtype=torch.float64)
    # Correlated inputs: what is left out can be made up for.
    inputs = torch.randn(400, size, generator=generator, dtype=torch.float64) @ torch.randn(
        size, size, generator=generator, dtype=torch.float64
    )
    moment = inputs.T @ inputs
    found = sparsegpt(weight, moment, sparsity or 0.5, "2:4" if sparsity is None else "unstructured")
    expected = torch.as_tensor(surgeon(weight.numpy(), moment.numpy(), sparsity))
    assert torch.equal(found == 0, expected == 0)
    # Condition numbers of some thousands, squared at most by the two ways to invert, times float64's 1e-16
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


def test_inputs_that_were_never_there_are_no_failure() -> None:
    weight = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    pruned = sparsegpt(weight, torch.zeros(8, 8), 0.5, "2:4")
    assert listed((pruned == 0).sum(1)) == [4, 4, 4]
    assert torch.equal(pruned[pruned != 0], weight[pruned != 0])


def test_factors_are_those_of_the_damped_moment_and_of_its_inverse() -> None:
    inputs = torch.randn(40, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    moment = inputs.T @ inputs
    whole = moment + DAMPING * moment.diagonal().mean() * torch.eye(9, dtype=torch.float64)
    lower, upper = lower_factor(moment), inverse_factor(moment)
    assert torch.equal(lower, lower.tril())
    assert torch.equal(upper, upper.triu())
    torch.testing.assert_close(lower @ lower.T, whole)
    torch.testing.assert_close(upper.T @ upper @ whole, torch.eye(9, dtype=torch.float64))
