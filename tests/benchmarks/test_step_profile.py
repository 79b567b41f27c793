"""What the lines of a profile say of made-up stamps."""

from __future__ import annotations

import numpy as np

from benchmarks.step_profile import Line, Times, table

ABSENT = np.nan


def times() -> Times:
    """One step of two threads and two stages; the second thread sleeps through the first."""
    first = [[0.0, 0.0, 3.0], [3.0, 4.0, 6.0]]
    second = [[ABSENT, ABSENT, ABSENT], [2.0, 4.0, 9.0]]
    return Times(np.array([[first, second]]), np.array([10.0]), np.array([12.0]))


def test_elapsed_ends_with_the_last_thread() -> None:
    assert times().elapsed.tolist() == [[3.0, 6.0]]


def test_absent_threads_neither_work_nor_wait() -> None:
    assert times().worked.tolist() == [[[3.0, 2.0], [0.0, 5.0]]]
    assert times().waited.tolist() == [[[0.0, 1.0], [0.0, 2.0]]]


def test_the_middle_half_leaves_out_extremes() -> None:
    stamps = np.zeros((4, 1, 1, 3))
    middle = Times(stamps, np.array([9.0, 2.0, 3.0, 1.0]), np.arange(4.0)).middle()
    assert sorted(middle.region) == [2.0, 3.0]
    assert sorted(middle.step) == [1.0, 2.0]


def test_the_table_ends_with_sums() -> None:
    lines = [Line("one", 1, 0, 10, 3, 3.0, (3.0, 0.0), 0.0), Line("two", 2, 1, 20, 6, 6.0, (2.0, 5.0), 1.5)]
    shown = table("a shape", lines, times(), 10.0)
    cells = [[*column.cells] for column in shown.columns]
    assert cells[0] == ["one", "two", "all stages", "the library's function", "the step of a caller"]
    assert cells[3] == ["3000000.0", "6000000.0", "9000000.0", "10000000.0", "12000000.0"]
    assert cells[8] == ["33%", "33%", "33%", "30%", "25%"]
    assert cells[9] == ["0.0"] * 5
