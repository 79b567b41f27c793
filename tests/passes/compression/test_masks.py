"""How many numbers each mask leaves out, and which."""

from __future__ import annotations

import torch

from graphwright.passes.compression.masks import lowest_of_cells, lowest_of_matrix, lowest_of_row
from tests.tensors import listed

SCORES = torch.tensor([[9.0, 1.0, 8.0, 2.0, 7.0, 3.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])


def test_rows_lose_the_same_part_and_matrices_what_is_lowest_anywhere() -> None:
    assert listed(lowest_of_row(SCORES, 0.5)) == [[False, True, False, True, False, True], [True] * 3 + [False] * 3]
    assert listed(lowest_of_matrix(SCORES, 0.5).sum(1)) == [1, 5]
    # 0.29 * 100 is a little less than 29 in floating point
    assert listed(lowest_of_row(torch.rand(3, 100), 0.29).sum(1)) == [29] * 3


def test_a_cell_loses_two_of_four_and_one_cut_short_is_filled_with_zeros() -> None:
    assert listed(lowest_of_cells(SCORES)) == [
        [False, True, False, True, False, False],
        [True, True, False, False, False, False],
    ]
    assert listed(lowest_of_cells(torch.arange(7.0)[None])) == [[True, True, False, False, True, False, False]]
