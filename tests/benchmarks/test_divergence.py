import numpy as np
import pytest

from benchmarks.divergence import mean_divergence


def test_the_divergence_is_that_of_the_distributions() -> None:
    # Probabilities 1/2 and 1/2 against 1/4 and 3/4 in the first row; equal up to a shift of the logits in the second.
    reference = np.array([[0.0, 0.0], [1.0, 2.0]], dtype=np.float32)
    other = np.array([[0.0, np.log(3.0)], [101.0, 102.0]], dtype=np.float32)
    expected = 0.5 * np.log(2) + 0.5 * np.log(2 / 3)
    # Logarithms of probabilities carry the rounding of float32 logits.
    assert mean_divergence(reference, other) == pytest.approx(expected / 2, abs=102 * float(np.finfo(np.float32).eps))
