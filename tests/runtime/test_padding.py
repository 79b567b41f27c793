from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from graphwright.runtime import GenerationError, unpad


def test_left_and_right_padding_give_the_same_rows() -> None:
    right = unpad([[5, 6, 7], [8, 0, 0]], [[1, 1, 1], [1, 0, 0]])
    left = unpad(np.array([[5, 6, 7], [0, 0, 8]]), np.array([[True, True, True], [False, False, True]]))
    assert right == left == [[5, 6, 7], [8]]


def test_a_padding_token_that_is_real_stays() -> None:
    assert unpad([[0, 5, 0, 0]], [[1, 1, 1, 0]]) == [[0, 5, 0]]


@pytest.mark.parametrize(
    ("ids", "mask", "reason"),
    [
        ([[1, 2]], [[1]], r"attention_mask has shape \[1, 1\], token_ids have \[1, 2\]"),
        ([[1, 2]], [[1, 2]], "holds other numbers than 0 and 1"),
        ([[1, 2], [3, 4]], [[1, 1], [0, 0]], "row 1 has no token"),
        ([[1, 2, 3]], [[1, 0, 1]], "row 0 has padding between its tokens"),
        ([[1, 2], [3]], [[1, 1], [1]], "token_ids has rows of different lengths"),
        ([1, 2], [1, 1], r"token_ids must be integers \[batch, sequence\]"),
        ([[1.5]], [[1]], "token_ids must be integers"),
    ],
)
def test_what_is_no_padded_batch(ids: Any, mask: Any, reason: str) -> None:
    with pytest.raises(GenerationError, match=reason):
        unpad(ids, mask)
