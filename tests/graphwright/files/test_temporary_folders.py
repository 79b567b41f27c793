"""Temporary folders: gone with their process, or swept by a later one."""

import gc
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from graphwright.files.temporary_folders import TemporaryFolder, temporary_folder

WAITS = """
import sys
from graphwright.files.temporary_folders import temporary_folder
with temporary_folder() as folder:
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_folder_of_a_killed_process_is_swept_and_that_of_a_living_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", WAITS]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    folders: list[Path] = []
    for process in processes:
        assert process.stdout is not None
        folders.append(Path(process.stdout.readline().strip()))
    living, killed = processes
    killed.kill()
    killed.wait()
    (tmp_path / "graphwright-mine").mkdir()
    (tmp_path / "graphwright-mine" / "notes").touch()
    with temporary_folder() as ours:
        found = {path.name for path in tmp_path.iterdir()}
        assert found == {folders[0].name, ours.name, "graphwright-mine"}
    assert living.stdin is not None
    living.stdin.close()
    assert living.wait() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["graphwright-mine"]


def test_a_forked_child_does_not_take_it_away() -> None:
    folder = TemporaryFolder()
    child = os.fork()
    if child == 0:
        folder.remove()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert folder.path.is_dir()
    folder.remove()
    assert not folder.path.exists()
    del folder
    gc.collect()
