"""Launches that touch what they must not: each is named, with its kernel and its buffer."""

from __future__ import annotations

import numpy as np
import pytest

from graphwright.runtime import SessionError
from tests.emulator.launching import ARRAYS, COUNT, launching
from tests.emulator.tiny import driver


def test_a_launch_that_is_right() -> None:
    with launching("doubled") as it:
        assert np.array_equal(it.run(), 2 * ARRAYS)


def test_what_no_launch_writes_may_be_read_before_the_wait() -> None:
    emulator, _ = driver()
    with launching("too_early") as it:
        emulator.describe(it.x, 4 * COUNT, "the weights", constant=True)
        assert np.array_equal(it.run(), 2 * ARRAYS)


def test_a_slot_has_bounds_of_its_own_within_an_allocation() -> None:
    emulator, _ = driver()
    with launching("doubled") as it:
        emulator.describe(it.y, 4 * COUNT - 4, "slot 0", constant=False)
        with pytest.raises(SessionError, match=r"4 bytes behind the end of `y` \(slot 0\) of 156 bytes"):
            it.run()


def test_programs_count_themselves_in_whatever_process_they_run() -> None:
    with launching("counts") as it:
        with it.driver.active():
            it.driver.zero(it.y, 4 * COUNT)
        assert it.changed(programs=300).run()[0] == 300


def test_fresh_memory_is_no_number_and_no_index() -> None:
    _, cuda = driver()
    address = cuda.allocate(64, "fresh")
    with cuda.active():
        for dtype in (np.float16, np.float32, np.float64):
            found = np.zeros(8, dtype)
            cuda.read(found, address)
            assert np.isnan(found).all()
        for dtype in (np.int32, np.int64):
            found = np.zeros(8, dtype)
            cuda.read(found, address)
            assert (found > 1 << 30).all()
    cuda.free(address)


def test_a_launch_that_does_not_end_is_a_line_and_the_next_one_runs() -> None:
    emulator, _ = driver()
    usual, emulator.time_limit = emulator.time_limit, 0.5
    try:
        with launching("endless") as it, pytest.raises(SessionError, match=r"kernel endless: it did not end within"):
            it.run()
    finally:
        emulator.time_limit = usual
    with launching("doubled") as it:
        assert np.array_equal(it.run(), 2 * ARRAYS)


def test_an_interpreter_that_dies_is_a_line_and_the_next_launch_runs() -> None:
    with (
        launching("dead") as it,
        pytest.raises(SessionError, match="kernel dead: it ended the process that interprets it, with status 7"),
    ):
        it.run()
    with launching("doubled") as it:
        assert np.array_equal(it.run(), 2 * ARRAYS)
