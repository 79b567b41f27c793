"""Who runs a step on how many threads, from the main thread and from others, and what stays of that."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from graphwright.runtime import Function, load, load_function
from graphwright.runtime.engines import tvm_threads
from graphwright.runtime.engines.tvm_threads import POOL_SIZE, Threads
from graphwright.runtime.errors import SessionError
from graphwright.runtime.tvm_api import Tvm, import_tvm
from tests.runtime.engines.probes import write_probe
from tests.runtime.program import TinyDecoder
from tests.runtime.tvm_decoder import write_tvm_artifact

X = np.zeros(1, dtype=np.float32)


def used(function: Function, count: int) -> int:
    """Of the `count` threads that a call is told to have, those that it has."""
    return len(set(function(x=X)["thread"][:count].tolist()))


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
        for count in (2, 1, 3, 2, 1, 3):
            assert used(functions[count], count) == count

    check()
    elsewhere(check)


@pytest.mark.parametrize("value", [None, "0", "1", "2", "many"])
def test_a_variable_of_tvm_does_not_take_them_away(
    functions: dict[int, Function], monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    # A step that waited for a thread which never comes would wait for ever.
    if value is None:
        monkeypatch.delenv(POOL_SIZE, raising=False)
    else:
        monkeypatch.setenv(POOL_SIZE, value)
    for count in (1, 2, 3):
        assert used(functions[count], count) == count
        elsewhere(lambda count=count: used(functions[count], count))


def test_threads_that_run_steps_leave_none_behind(functions: dict[int, Function]) -> None:
    def work() -> None:
        for count, function in functions.items():
            assert used(function, count) == count

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    elsewhere(work)
    before = threads()
    for _ in range(10):
        elsewhere(work)
    # A thread that has been waited for is still there for a moment.
    assert soon(lambda: threads() <= before + 1)


def test_steps_from_several_threads_at_once(functions: dict[int, Function]) -> None:
    def work(count: int) -> set[int]:
        return {used(functions[count], count) for _ in range(30)}

    with ThreadPoolExecutor(max_workers=6) as pool:
        assert list(pool.map(work, (1, 2, 3, 1, 2, 3))) == [{1}, {2}, {3}] * 2


def test_generations_at_once_over_one_session(tmp_path: Path, tiny: TinyDecoder) -> None:
    model = load(write_tvm_artifact(tmp_path / "tiny", tiny), threads=2)
    prompts = [[3, 1, 4], [1], [5, 9, 2, 6, 5], [8, 9]]
    expected = [tiny.greedy(prompt, 10) for prompt in prompts]

    def generate(prompt: list[int]) -> list[int]:
        return model.generate(prompt, max_new_tokens=10)

    with ThreadPoolExecutor(max_workers=4) as pool:
        assert list(pool.map(generate, prompts * 4)) == expected * 4


def test_errors_come_back_from_the_thread_that_runs_the_step() -> None:
    threads = Threads(import_tvm(), 2)

    def fail(*arguments: object) -> None:
        raise ValueError(f"not with {arguments}")

    places: list[Callable[[Callable[[], object]], object]] = [lambda work: work(), elsewhere]
    for run in places:
        with pytest.raises(ValueError, match="not with \\(1,\\)"):
            run(lambda: threads.run(fail, [1]))  # type: ignore[arg-type]  # a plain function is called like a packed one


def test_fewer_threads_than_asked_for_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    tvm = import_tvm()
    fewer = Tvm(tvm.load_module, tvm.from_dlpack, tvm.view_as, lambda: 1, lambda mode, count: None)
    monkeypatch.setattr(tvm_threads, "_LASTING", {})
    with pytest.raises(SessionError, match="TVM does not start 2 threads; load the model with fewer"):
        Threads(fewer, 2).run(lambda *arguments: None, [])  # type: ignore[arg-type]  # as above
