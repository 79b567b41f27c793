"""How many numbers each mask leaves out, and which."""

from __future__ import annotations

import torch

from graphwright.passes.compression.masks import lowest_of_cells, lowest_of_matrix, lowest_of_row

SCORES = torch.tensor([[9.0, 1.0, 8.0, 2.0, 7.0, 3.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0]])


def test_rows_lose_the_same_part_and_matrices_what_is_lowest_anywhere() -> None:
    assert lowest_of_row(SCORES, 0.5).tolist() == [[False, True, False, True, False, True], [True] * 3 + [False] * 3]
    assert lowest_of_matrix(SCORES, 0.5).sum(1).tolist() == [1, 5]
    # 0.29 * 100 is a little less than 29 in floating point
    assert lowest_of_row(torch.rand(3, 100), 0.29).sum(1).tolist() == [29] * 3


def test_a_cell_loses_two_of_four_and_one_cut_short_is_filled_with_zeros() -> None:
    assert lowest_of_cells(SCORES).tolist() == [
        [False, True, False, True, False, False],
        [True, True, False, False, False, False],
    ]
    assert lowest_of_cells(torch.arange(7.0)[None]).tolist() == [[True, True, False, False, True, False, False]]
