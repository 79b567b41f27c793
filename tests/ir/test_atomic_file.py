"""Files that appear whole, and what writers that were killed have left of them."""

import fcntl
import subprocess
import sys
from pathlib import Path

import pytest

from graphwright.ir.atomic_file import write_atomically

WRITES = """
import sys
from pathlib import Path
from graphwright.ir.atomic_file import write_atomically
def write(path):
    path.write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
write_atomically(Path(sys.argv[1]), write)
"""


def writer(target: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITES, str(target)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_what_a_killed_writer_left_is_swept_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    target = tmp_path / "model.gw"
    living, killed = writer(target), writer(target)
    killed.kill()
    killed.wait()
    (tmp_path / ".other.gw.new-01234567").touch()
    write_atomically(target, lambda path: path.write_text("whole"))
    assert len(list(tmp_path.iterdir())) == 3
    assert target.read_text() == "whole"
    assert living.stdin is not None
    living.stdin.close()
    assert living.wait() == 0
    assert target.read_text() == "half"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".other.gw.new-01234567", "model.gw"]


def test_a_failure_leaves_what_stood_there(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("old")

    def fails(path: Path) -> None:
        path.write_text("new")
        raise RuntimeError("half way")

    with pytest.raises(RuntimeError, match="half way"):
        write_atomically(tmp_path / "x", fails)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "old"


def test_a_writer_may_put_another_file_in_the_place_of_the_fresh_one(tmp_path: Path) -> None:
    def replaces(path: Path) -> None:
        (tmp_path / "beside").write_text("whole")
        (tmp_path / "beside").rename(path)

    write_atomically(tmp_path / "x", replaces)
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "whole"


def test_a_file_that_is_swept_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    swept: list[str] = []
    lock = fcntl.flock

    def sweeps_first(descriptor: int, operation: int) -> None:
        if not swept:
            (fresh,) = tmp_path.iterdir()
            swept.append(fresh.name)
            write_atomically(tmp_path / "x", lambda path: path.write_text("other"))
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", sweeps_first)
    write_atomically(tmp_path / "x", lambda path: path.write_text("whole"))
    assert swept
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text() == "whole"
