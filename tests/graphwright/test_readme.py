"""The README's examples, run as they stand."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.graphwright.forked import fork_server

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BUNDLED = Path("examples") / "models" / "storyteller"
"""The model that the examples name."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Runs `graphwright` and `python`, each in a process of its own."""
    with fork_server(tmp_path_factory.mktemp("server")) as command:
        yield command


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder that looks like the repository to the examples, whose output it keeps."""
    assert (ROOT / BUNDLED / "config.json").is_file()
    (tmp_path / BUNDLED).parent.mkdir(parents=True)
    (tmp_path / BUNDLED).symlink_to(ROOT / BUNDLED)
    (tmp_path / "README.md").symlink_to(ROOT / "README.md")
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("python"))
def test_python(code: str, place: Path, command: Path) -> None:
    done = subprocess.run([command, "python", "-c", code], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_commands(place: Path, command: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("graphwright ")]
    assert {line.split()[1] for line in lines} == {
        *(
            "compile",
            "generate",
            "trace",
            "opt",
            "explain",
            "report",
            "quantize",
            "evaluate",
            "passes",
            "run",
            "export",
            "inspect",
            "machine",
            "doctor",
        )
    }
    program = f'graphwright() {{ "{command}" graphwright "$@"; }}'
    script = "\n".join(["set -e", program, *lines])
    done = subprocess.run(
        ["bash", "-c", script], cwd=place, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, done.stderr
    assert "compiled storyteller to out/storyteller" in done.stdout
