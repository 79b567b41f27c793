"""Who runs a step on how many threads, from the main thread and from others, and what stays of that."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from graphwright.runtime import Function, load, load_function
from tests.runtime.engines.probes import facts, write_probe
from tests.runtime.native_decoder import write_native_artifact
from tests.runtime.program import TinyDecoder

X = np.zeros(1, dtype=np.float32)


def used(function: Function, count: int) -> int:
    """Of the `count` threads that a call may have, those that it has: on a busy machine a step does with fewer."""
    outputs = function(x=X)
    threads = facts(outputs)["threads"]
    assert 1 <= threads <= count
    assert len(set(outputs["thread"][:threads].tolist())) == threads
    return threads


@pytest.fixture
def functions(tmp_path: Path, library: Path) -> dict[int, Function]:
    """By the number of threads that each is loaded with."""
    folder = write_probe(tmp_path / "f", library)
    return {count: load_function(folder, threads=count) for count in (1, 2, 3)}


def elsewhere(work: Callable[[], object]) -> None:
    """Run it in a thread of its own."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(work).result()


def soon(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not (held := holds()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return held


def test_a_step_has_the_threads_that_it_is_told_to_have(functions: dict[int, Function]) -> None:
    def check() -> None:
        for count in (2, 1, 2, 1):
            assert soon(lambda count=count: used(functions[count], count) == count)

    check()
    elsewhere(check)


def test_threads_that_run_steps_leave_none_behind(functions: dict[int, Function]) -> None:
    def work() -> None:
        for count, function in functions.items():
            used(function, count)

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    elsewhere(work)
    before = threads()
    for _ in range(10):
        elsewhere(work)
    # A thread that has been waited for is still there for a moment.
    assert soon(lambda: threads() <= before + 1)


def test_steps_from_several_threads_at_once(functions: dict[int, Function]) -> None:
    def work(count: int) -> int:
        return max(used(functions[count], count) for _ in range(30))

    with ThreadPoolExecutor(max_workers=6) as pool:
        assert list(pool.map(work, (1, 1))) == [1, 1]
        assert all(map(int.__le__, pool.map(work, (1, 2, 3, 1, 2, 3)), (1, 2, 3, 1, 2, 3)))


def test_generations_at_once_over_one_session(tmp_path: Path, tiny: TinyDecoder) -> None:
    model = load(write_native_artifact(tmp_path / "tiny", tiny), threads=2)
    prompts = [[3, 1, 4], [1], [5, 9, 2, 6, 5], [8, 9]]
    expected = [tiny.greedy(prompt, 10) for prompt in prompts]

    def generate(prompt: list[int]) -> list[int]:
        return model.generate(prompt, max_new_tokens=10)

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert list(pool.map(generate, prompts * 4)) == expected * 4
