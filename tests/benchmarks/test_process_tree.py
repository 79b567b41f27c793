import os
from pathlib import Path

import pytest

from benchmarks.process_tree import process_tree, processor_seconds, status_bytes


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """1 has the children 2 and 3 (from another thread), 2 has the child 4, which has ended meanwhile."""
    for number, threads in ((1, {1: "2", 11: "3"}), (2, {2: "4"}), (3, {3: ""})):
        for thread, children in threads.items():
            folder = tmp_path / str(number) / "task" / str(thread)
            folder.mkdir(parents=True)
            (folder / "children").write_text(children)
        # A command may hold spaces and parentheses; fields 14 and 15 are ticks in user and kernel mode.
        fields = ["S", "0", *["0"] * 9, str(number * 100), "50", "0"]
        (tmp_path / str(number) / "stat").write_text(f"{number} (a (b) c) {' '.join(fields)}\n")
        (tmp_path / str(number) / "status").write_text(f"Name:\ta\nVmHWM:\t  {number} kB\nRssAnon:\t 1 kB\n")
    return tmp_path


def test_the_tree_holds_children_of_every_thread(proc: Path) -> None:
    assert sorted(process_tree(1, proc)) == [1, 2, 3, 4]
    assert list(process_tree(3, proc)) == [3]


def test_processor_time_sums_the_tree(proc: Path) -> None:
    assert processor_seconds(1, proc) == (600 + 3 * 50) / os.sysconf("SC_CLK_TCK")


def test_memory_sums_the_tree(proc: Path) -> None:
    assert status_bytes(1, "VmHWM", proc) == 6 * 1024
    assert status_bytes(2, "RssAnon", proc) == 1024
    assert status_bytes(1, "VmSwap", proc) == 0


def test_our_own_process_is_read() -> None:
    assert next(process_tree(os.getpid())) == os.getpid()
    assert status_bytes(os.getpid(), "VmHWM") >= status_bytes(os.getpid(), "RssAnon") > 0
