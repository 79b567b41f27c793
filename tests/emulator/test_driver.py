"""What the stand-in refuses, as a driver would."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from graphwright.runtime import SessionError
from graphwright.runtime.cuda_api import POINTER
from tests.emulator.launching import ARRAYS, COUNT, image, launching
from tests.emulator.tiny import driver


def test_a_block_of_another_size_than_the_kernel_was_compiled_for() -> None:
    with launching("doubled") as it, pytest.raises(SessionError, match="a block of another size than the kernel was"):
        it.changed(threads=64).run()


def test_a_block_of_too_many_threads() -> None:
    with launching("doubled") as it, pytest.raises(SessionError, match="of no threads, or of more than 1024"):
        it.changed(threads=2048).run()


def test_a_grid_without_blocks() -> None:
    with launching("doubled") as it, pytest.raises(SessionError, match="a grid that is empty"):
        it.changed(programs=0).run()


def test_more_shared_memory_than_the_function_was_given() -> None:
    with launching("doubled") as it, pytest.raises(SessionError, match="more shared memory than the function"):
        it.changed(shared=64 << 10).run()


def test_less_shared_memory_than_the_kernel_needs() -> None:
    with launching("doubled", shared=64 << 10) as it:
        assert np.array_equal(it.run(), 2 * ARRAYS)
        with pytest.raises(SessionError, match="less shared memory than the kernel needs"):
            it.changed(shared=0).run()


def test_more_shared_memory_than_a_block_may_have() -> None:
    _, cuda = driver()
    with cuda.active(), pytest.raises(SessionError, match="more shared memory than a block may have"):
        cuda.function(cuda.module(image("doubled")), "doubled", 228 << 10)


def test_a_pointer_that_is_not_aligned() -> None:
    with launching("doubled") as it, pytest.raises(SessionError, match="`y` is at no multiple of 16 bytes"):
        it.valued(it.x, it.y + 4, COUNT).run()


def test_a_pointer_to_what_is_no_longer_allocated() -> None:
    with launching("doubled") as it:
        gone = it.driver.allocate(4 * COUNT, "what is freed")
        it.driver.free(gone)
        with pytest.raises(SessionError, match="`x` points to memory that is not allocated"):
            it.valued(gone, it.y, COUNT).run()


def test_a_pointer_of_the_host() -> None:
    with launching("doubled") as it, pytest.raises(SessionError, match="`x` is no address of the device"):
        it.valued(0x10000, it.y, COUNT).run()


def test_parameters_are_told_with_their_sizes() -> None:
    with launching("doubled") as it, it.driver.active():
        assert it.driver.parameter_sizes(it.launch.function) == [8, 8, 4]
        assert ctypes.sizeof(POINTER) == 8


def test_a_function_that_is_not_in_its_module() -> None:
    _, cuda = driver()
    with cuda.active(), pytest.raises(SessionError, match="the module has no function absent"):
        cuda.function(cuda.module(image("doubled")), "absent", 0)


def test_machine_code() -> None:
    _, cuda = driver()
    with cuda.active(), pytest.raises(SessionError, match="the emulator runs no machine code"):
        cuda.module(b"\x7fELF" + bytes(60))


def test_work_that_cannot_be_captured_and_a_capture_that_failed_is_over() -> None:
    with launching("doubled") as it, it.driver.active():
        with pytest.raises(SessionError, match="a grid that is empty"):
            it.driver.captured([it.launch, it.changed(programs=0).launch])
        graph = it.driver.captured([it.launch])
        it.driver.replay(graph)
        assert np.array_equal(it.result(), 2 * ARRAYS)
        it.driver.discard(graph)


def test_a_graph_reads_what_is_there_when_it_is_launched() -> None:
    with launching("doubled") as it, it.driver.active():
        graph = it.driver.captured([it.launch])
        it.driver.write(it.x, ARRAYS + 1)
        it.driver.replay(graph)
        assert np.array_equal(it.result(), 2 * (ARRAYS + 1))


def test_a_copy_beyond_what_was_allocated() -> None:
    with (
        launching("doubled") as it,
        it.driver.active(),
        pytest.raises(SessionError, match="a copy goes beyond what was allocated"),
    ):
        it.driver.write(it.x, np.zeros(COUNT + 1, np.float32))


def test_nothing_is_done_before_it_is_waited_for() -> None:
    """So that a missing wait shows, as it may on a device."""
    with launching("doubled") as it, it.driver.active():
        it.run()
        with it.driver.pinned(4 * COUNT, 1) as (buffer,):
            buffer.array[:] = np.zeros(COUNT, np.float32).view(np.uint8)
            it.driver.send(it.x, buffer, 4 * COUNT)
            # Filled again too early: the device has not read it yet.
            buffer.array[:] = ARRAYS.view(np.uint8)
            buffer.wait()
            assert np.array_equal(it.run(), 2 * ARRAYS)
            buffer.array[:] = 0
            assert np.array_equal(it.run(), 2 * ARRAYS)


def test_who_breaks_guards_answers_for_them_and_not_the_launches_after() -> None:
    with launching("doubled") as it:
        for address in (it.x, it.y):
            ctypes.memset(address - 8, 0, 8)
        with pytest.raises(SessionError, match=r"doubled: it ran, and wrote in front of (numbers|results) of"):
            it.run()
        assert np.array_equal(it.run(), 2 * ARRAYS)
