"""The team of a step: whoever joins and leaves, each stage is done once, behind the one before."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Generator

import numpy as np
import pytest

from graphwright.runtime.aligned import aligned_zeros
from graphwright.runtime.artifact import FunctionSpec
from graphwright.runtime.engines.native_library import CompiledFunction, NativeValue, Tensor, load_functions
from tests.runtime.native_libraries import export

ROUNDS, ITEMS = 400, 50
JOB = f"""
enum {{ ROUNDS = {ROUNDS}, ITEMS = {ITEMS} }};
static char rounds[ROUNDS + 1]; /* whose addresses say how far a step is */
static void count(member *me, const void *job) {{
    int64_t *done = (int64_t *)((const tensor *)job)[0].data, *wrong = done + ITEMS, *most = wrong + 1;
    for (const char *round = me->at.stage; round != rounds + ROUNDS;) {{
        for (int64_t i = ITEMS * me->part / me->parts; i < ITEMS * (me->part + 1) / me->parts; i++) {{
            /* All items of the round before are done, by whomever. */
            if (done[(i + ITEMS / 2) % ITEMS] < round - rounds)
                __atomic_fetch_add(wrong, 1, __ATOMIC_RELAXED);
            done[i]++;
        }}
        if (me->part == 0 && me->parts > *most)
            *most = me->parts;
        round++;
        if (!meet(me, &(position){{round, 0, 0}}))
            return;
    }}
    meet(me, 0);
}}
static void stay(member *me, const void *job) {{
    int64_t *stayed = ((const tensor *)job)[0].data;
    if (me->slot == 0) {{
        const int64_t begin = now(CLOCK_MONOTONIC);
        while (!(*stayed = me->parts == 2 || !(team.limit & 2)) && !(LOAD(team.available) & 2))
            if (now(CLOCK_MONOTONIC) > begin + INT64_C(10000000000))
                break;
        for (const int64_t awake = now(CLOCK_MONOTONIC); now(CLOCK_MONOTONIC) < awake + 3000000;)
            ;
        *stayed |= LOAD(team.available) >> 1 & 1;
    }}
    meet(me, 0);
}}
"""


@pytest.fixture(scope="module")
def functions(tmp_path_factory: pytest.TempPathFactory) -> list[CompiledFunction]:
    path = tmp_path_factory.mktemp("team") / "team.so"
    names = ("count", "stay")
    bodies = {name: (f"run_on_threads({name}, given, (position){{rounds, 0, 0}}, threads);", "0") for name in names}
    export(bodies, path, JOB)
    return load_functions(path, [FunctionSpec(name=name) for name in names])


@pytest.fixture(scope="module")
def function(functions: list[CompiledFunction]) -> CompiledFunction:
    return functions[0]


def run(function: CompiledFunction, threads: int) -> int:
    """A step; gives the most members that it had."""
    value = NativeValue(aligned_zeros((ITEMS + 2,), np.int64), "int64")
    assert function.run((Tensor * 1)(value.tensor), threads) == 0
    assert (value.array[:ITEMS] == ROUNDS).all()
    assert value.array[ITEMS] == 0
    return int(value.array[-1])


@pytest.fixture
def busy_loop() -> Generator[None]:
    loop = subprocess.Popen(["sh", "-c", "while :; do :; done"])
    yield
    loop.kill()
    loop.wait()


@pytest.mark.parametrize("threads", [1, 2, 5, 56, 80])
def test_each_item_is_done_once_and_in_order(function: CompiledFunction, threads: int) -> None:
    """With more threads than CPUs, members are late and leave."""
    assert max(run(function, threads) for _ in range(40)) <= threads


def test_beside_other_work_and_with_a_team_that_changes(function: CompiledFunction, busy_loop: None) -> None:
    for number in range(60):
        run(function, 1 + number % 4)


def test_a_thread_that_wakes_up_in_a_long_stage_stays_awake_for_the_next(functions: list[CompiledFunction]) -> None:
    for _ in range(10):
        # Now workers are asleep.
        time.sleep(0.01)
        stayed = NativeValue(aligned_zeros((1,), np.int64), "int64")
        assert functions[1].run((Tensor * 1)(stayed.tensor), 2) == 0
        assert stayed.array[0] == 1


def test_steps_of_several_threads_take_turns(function: CompiledFunction) -> None:
    failed: list[BaseException] = []

    def work(threads: int) -> None:
        try:
            for _ in range(20):
                run(function, threads)
        except BaseException as error:
            failed.append(error)

    workers = [threading.Thread(target=work, args=(threads,)) for threads in (1, 2, 2, 3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failed == []
