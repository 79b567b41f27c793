"""What a writer that was killed has left is swept by the next to the same target; what a living one writes stays."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graphwright.runtime.artifact import AtomicFolder
from graphwright.runtime.artifact.stale_folders import hold, sweep

WRITES = """
import os, signal, sys
from graphwright.runtime.artifact import AtomicFolder
from pathlib import Path
rename = Path.rename
def dies(self, target):
    if str(target) == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
with AtomicFolder(sys.argv[1], lambda _: True) as folder:
    (folder.path / "a").write_text("half")
    if sys.argv[2] == "between":
        Path.rename = dies
        folder.commit()
    print("writing", flush=True)
    sys.stdin.read()
"""


def writer(target: Path, when: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITES, str(target), when]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == ("" if when == "between" else "writing\n")
    return process


def write(target: Path, text: str) -> None:
    with AtomicFolder(target, lambda _: True) as folder:
        (folder.path / "a").write_text(text)
        folder.commit()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    target = tmp_path / "out"
    living, killed = writer(target, "writing"), writer(target, "writing")
    assert len(names(tmp_path)) == 2
    killed.kill()
    killed.wait()
    write(target, "whole")
    (left,) = [name for name in names(tmp_path) if name != "out"]
    assert (tmp_path / left / "a").read_text() == "half"
    assert living.stdin is not None
    living.stdin.close()
    assert living.wait() == 0
    assert names(tmp_path) == ["out"]
    assert (target / "a").read_text() == "whole"


def test_what_stood_in_the_place_comes_back(tmp_path: Path) -> None:
    target = tmp_path / "out"
    write(target, "whole")
    assert writer(target, "between").wait() == -signal.SIGKILL
    assert not target.exists()
    with AtomicFolder(target, lambda _: True) as folder:
        assert (target / "a").read_text() == "whole"
        assert names(tmp_path) == sorted([folder.path.name, "out"])
    assert names(tmp_path) == ["out"]


def test_other_names_stay(tmp_path: Path) -> None:
    others = [".out.new-1234", ".out.new-0123456g", ".other.new-01234567", ".out.old-01234567.txt", "out.new-01234567"]
    for name in others:
        (tmp_path / name).mkdir()
    (tmp_path / ".out.new-01234567").write_text("a file")
    (tmp_path / ".out.gone-01234567").symlink_to(tmp_path / others[0])
    (tmp_path / ".out.gone-12345678").mkdir()
    write(tmp_path / "out", "whole")
    assert names(tmp_path) == sorted([*others, "out", ".out.new-01234567", ".out.gone-01234567"])


def test_a_lock_is_of_one_holder(tmp_path: Path) -> None:
    held = hold(tmp_path)
    assert held is not None
    assert hold(tmp_path) is None
    os.close(held)
    again = hold(tmp_path)
    assert again is not None
    os.close(again)
    assert hold(tmp_path / "absent") is None


def test_a_folder_that_is_swept_before_it_is_held_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, swept = tmp_path / "out", False
    lock = fcntl.flock

    def sweeps_first(descriptor: int, operation: int) -> None:
        nonlocal swept
        if not swept:
            swept = True
            sweep(target)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweeps_first)
    write(target, "whole")
    assert swept
    assert names(tmp_path) == ["out"]
    assert (target / "a").read_text() == "whole"


def test_a_folder_is_written_where_there_are_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(descriptor: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fails)
    write(tmp_path / "out", "whole")
    assert names(tmp_path) == ["out"]


def test_a_failing_commit_keeps_what_stood_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "out"
    write(target, "whole")
    rename = Path.rename

    def fails(self: Path, to: Path) -> Path:
        if ".new-" in self.name:
            raise OSError(28, "No space left on device")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(Exception, match="No space left"):
        write(target, "new")
    assert names(tmp_path) == ["out"]
    assert (target / "a").read_text() == "whole"
