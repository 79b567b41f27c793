import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.peers import process
from benchmarks.peers.process import BenchmarkError, WorkerProcess
from benchmarks.peers.protocol import Prefill
from tests.benchmarks.fake_worker import LOADED_BYTES

Fake = Callable[..., WorkerProcess]


def test_answers_come_through_whatever_libraries_print(fake: Fake, tmp_path: Path) -> None:
    with fake() as worker:
        worker.load(tmp_path, {})
        assert worker.prefill([1, 2, 3]) == Prefill(0.003, 6)
        assert worker.decode([1], [2, 3]).seconds == [9.0, 0.01]
        assert worker.decode([1], [2, 3, 4, 5], 2).seconds == [9.0, 0.012]
        assert worker.logits([1], [2]).tolist() == [[0.0, 1.0, 2.0]] * 2
        assert worker.versions() == {"fake": "1.0"}
        worker.wait_until_quiet()
    assert "libraries print to stdout" in (tmp_path / "fake.log").read_text()


def test_peak_memory_includes_what_loading_took(fake: Fake, tmp_path: Path) -> None:
    with fake() as worker:
        worker.watch_memory()
        worker.load(tmp_path, {})
        peak = worker.peak_memory()
    # An interpreter takes tens of megabytes itself.
    assert LOADED_BYTES < peak.anonymous <= peak.resident < 3 * LOADED_BYTES


def test_memory_is_watched_no_longer_than_the_worker_lives(fake: Fake, tmp_path: Path) -> None:
    with fake("fails") as worker:
        worker.watch_memory()
        assert "memory watch" in {thread.name for thread in threading.enumerate()}
        with pytest.raises(BenchmarkError):
            worker.load(tmp_path, {})
    assert "memory watch" not in {thread.name for thread in threading.enumerate()}


def test_a_reported_error_names_system_and_log(fake: Fake, tmp_path: Path) -> None:
    message = rf"^fake: 'load' failed: ValueError: no such folder; see {tmp_path}/fake.log$"
    with fake("fails") as worker, pytest.raises(BenchmarkError, match=message):
        worker.load(tmp_path, {})
    assert "Traceback" in (tmp_path / "fake.log").read_text()


def test_an_ended_worker_is_reported_with_its_status(fake: Fake, tmp_path: Path) -> None:
    with fake("exits") as worker, pytest.raises(BenchmarkError, match=r"^fake: ended with exit status 3 during 'load'"):
        worker.load(tmp_path, {})


def test_a_hang_is_reported(fake: Fake, tmp_path: Path) -> None:
    with (
        pytest.raises(BenchmarkError, match=r"^fake: no answer to 'load' in 0 s$"),
        fake("hangs", answer_seconds=0.1) as w,
    ):
        w.load(tmp_path, {})


def test_a_worker_that_never_rests_is_refused(fake: Fake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "QUIET_DEADLINE_SECONDS", 0.5)
    with fake("spins") as worker:
        worker.load(tmp_path, {})
        with pytest.raises(BenchmarkError, match="still uses the processor"):
            worker.wait_until_quiet()


def test_a_missing_interpreter_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"^ghost: cannot start /no/python: No such file or directory$"):
        WorkerProcess("ghost", ["/no/python"], tmp_path / "ghost.log")
