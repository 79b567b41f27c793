"""Commands that are told to end: nothing half-written stays, and the exit status is 128 and the signal."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from graphwright.cli import entry, main
from graphwright.cli.signals import clean_exit_on_signals
from graphwright.files.temporary_folders import temporary_folder
from graphwright.runtime.artifact import AtomicFolder

COMMAND = """
import signal, sys, time
from pathlib import Path

for number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)  # under nohup, SIGHUP is ignored in the tests too

from graphwright.cli import entry, main
from graphwright.ir.atomic_file import write_atomically
from graphwright.runtime.artifact import AtomicFolder
from graphwright.files.temporary_folders import temporary_folder

def half(path):
    path.write_text("half")
    print("writing", flush=True)
    while True:
        time.sleep(0.01)

def work(**_):
    with temporary_folder(), AtomicFolder(sys.argv[1]) as folder:
        (folder.path / "a").write_text("half")
        try:
            write_atomically(Path(sys.argv[1] + ".gw"), half)
        except BaseException:  # as a library may
            raise RuntimeError("something else")

entry.app = work
main([])
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_nothing_half_written_stays(tmp_path: Path, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    assert len(list(tmp_path.iterdir())) == 3
    process.send_signal(number)
    _, errors = process.communicate()
    assert (process.returncode, errors) == (128 + number, "")
    assert list(tmp_path.iterdir()) == []


def statuses(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> object:
    def run(**_: object) -> None:
        work()

    monkeypatch.setattr(entry, "app", run)
    with pytest.raises(SystemExit) as end:
        main(["x"])
    return end.value.code


def test_signals_in_a_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    def aborted() -> None:
        raise typer.Abort

    def swallowed() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except BaseException:  # as a callback through another language does
            return

    def writing() -> None:
        with temporary_folder() as temporary, AtomicFolder(tmp_path / "out") as folder:
            made.extend([temporary, folder.path])
            os.kill(os.getpid(), signal.SIGHUP)

    made: list[Path] = []
    assert statuses(monkeypatch, interrupted) == statuses(monkeypatch, aborted) == 130
    assert statuses(monkeypatch, swallowed) == 143
    assert statuses(monkeypatch, writing) == 129
    assert made
    assert not any(path.exists() for path in made)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == [signal.SIG_DFL] * 2


def test_handlers_of_others_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with clean_exit_on_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)

    def elsewhere() -> None:
        with clean_exit_on_signals():
            found.append(signal.getsignal(signal.SIGTERM))

    found: list[object] = []
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert found == [signal.SIG_DFL]
