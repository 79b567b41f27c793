"""How far one system's logits are from another's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]


def mean_divergence(reference: Logits, logits: Logits) -> float:
    """The mean over rows of KL(reference || other) in nats, of the distributions that logits [N, V] stand for."""
    expected, found = _log_probabilities(reference), _log_probabilities(logits)
    return float((np.exp(expected) * (expected - found)).sum(axis=-1).mean())


def _log_probabilities(logits: Logits) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
