"""Processes that have run a step on several threads: their end, and their forked children."""

import os
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.runtime.engines.probes import write_probe

LOAD = "import sys, time; import numpy as np; from graphwright.runtime import load_function;"
STEP = """
function = load_function(sys.argv[1], threads=2)
function(x=np.zeros(1, dtype=np.float32))
"""

CHILDREN = """
import multiprocessing, os, signal, threading, warnings

warnings.simplefilter("ignore")  # of Python 3.12, that a process with threads forks

def step():
    function(x=np.zeros(1, dtype=np.float32))

def work(again):
    signal.alarm(20)
    step()
    load_function(sys.argv[1], threads=2)(x=np.zeros(1, dtype=np.float32))
    if again:
        assert status(lambda: work(False)) == 0

def status(work):
    child = os.fork()
    if child == 0:
        work()
        sys.exit()
    return os.waitpid(child, 0)[1]

assert status(lambda: work(True)) == 0
ends = threading.Event()
def steps():
    while not ends.is_set():
        step()
other = threading.Thread(target=steps)
other.start()
assert [status(lambda: work(False)) for _ in range(5)] == [0] * 5
process = multiprocessing.get_context("fork").Process(target=work, args=(False,))
process.start()
process.join()
assert process.exitcode == 0
ends.set()
other.join()
step()
"""

ASLEEP = """
import os

def threads():
    return set(os.listdir("/proc/self/task"))

def at_rest(thread):
    # State, and ticks in user and kernel mode; names may hold spaces and parentheses.
    with open(f"/proc/self/task/{thread}/stat") as file:
        state, *fields = file.read().rpartition(")")[2].split()
    return state == "S" and fields[10:12]

before = threads()
function = load_function(sys.argv[1], threads=2)
function(x=np.zeros(1, dtype=np.float32))
made = threads() - before
assert len(made) == 1, made
deadline = time.monotonic() + 60
last, looks = None, 0
while looks < 20:
    assert time.monotonic() < deadline, [thread for thread in made if not at_rest(thread)]
    time.sleep(0.01)
    now = [at_rest(thread) for thread in sorted(made)]
    looks = looks + 1 if all(now) and now == last else 0
    last = now
"""


@pytest.fixture
def busy_cpus() -> Generator[None]:
    """A busy loop for each CPU."""
    loops = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in os.sched_getaffinity(0)]
    yield
    for loop in loops:
        loop.kill()
        loop.wait()


def run(code: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def seconds_to_end(script: str, folder: Path) -> float:
    """From the last line of the script to the end of its process."""
    code = f"{LOAD}{script}\nprint(time.monotonic(), flush=True)"
    result = run(code, folder)
    assert result.returncode == 0, result.stderr
    return time.monotonic() - float(result.stdout)


def test_a_process_ends_as_soon_as_one_that_only_imports(tmp_path: Path, library: Path, busy_cpus: None) -> None:
    folder = write_probe(tmp_path / "f", library)
    only_imports = seconds_to_end("", folder)
    assert seconds_to_end(STEP, folder) < only_imports + 5


def test_forked_children_run_steps_and_end(tmp_path: Path, library: Path) -> None:
    folder = write_probe(tmp_path / "f", library)
    result = run(LOAD + STEP + CHILDREN, folder)
    assert result.returncode == 0, result.stderr


def test_threads_that_have_nothing_to_do_go_to_sleep(tmp_path: Path, library: Path, busy_cpus: None) -> None:
    folder = write_probe(tmp_path / "f", library)
    result = run(LOAD + ASLEEP, folder)
    assert result.returncode == 0, result.stderr
