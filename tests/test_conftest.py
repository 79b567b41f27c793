"""The guard against skipped tests, on a small suite of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SUITE = """
import pytest

def test_good():
    pass

def test_skipped():
    pytest.skip("REASON")
"""


def run(folder: Path, reason: str, *arguments: str, ci: str) -> "subprocess.CompletedProcess[str]":
    (folder / "test_suite.py").write_text(SUITE.replace("REASON", reason))
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", os.devnull, "--rootdir", folder, folder]
    environment = {**os.environ, "CI": ci, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [*map(str, command), *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("arguments", [(), ("-n", "1")])
def test_an_unlisted_skip_fails_the_run(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = run(tmp_path, "no reason at all", *arguments, ci="true")
    assert done.returncode == 1
    assert "1 skipped, not allowed in allowed_skips.txt: no reason at all" in done.stdout


def test_a_listed_skip_is_allowed(tmp_path: Path) -> None:
    lines = (ROOT / "tests" / "allowed_skips.txt").read_text().splitlines()
    listed = next(line for line in lines if line and not line.startswith("#"))
    assert run(tmp_path, listed, ci="true").returncode == 0


def test_elsewhere_skips_are_allowed(tmp_path: Path) -> None:
    assert run(tmp_path, "no reason at all", ci="false").returncode == 0


def test_a_module_that_skips_itself_counts(tmp_path: Path) -> None:
    (tmp_path / "test_whole.py").write_text('import pytest\npytest.skip("all of it", allow_module_level=True)\n')
    done = run(tmp_path, "no reason at all", ci="true")
    assert "not allowed in allowed_skips.txt: all of it" in done.stdout
