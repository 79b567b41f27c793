"""A published model, compiled and asked for its published text."""

from pathlib import Path

import pytest

from tests.graphwright.commands import Commands

STORIES = Path(__file__).parents[3] / "shared" / "models" / "stories260k"


@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_greedy_text_is_the_published_one(commands: Commands, tmp_path: Path, dialect: str) -> None:
    if not STORIES.exists():
        pytest.skip("the shared model stories260k is not here")
    commands.succeed("compile", STORIES, "-o", tmp_path / "out", "--dialect", dialect)
    text = commands.succeed("generate", tmp_path / "out", "--max-new-tokens", "256")
    assert text.encode() == (STORIES / "EXPECTED.txt").read_bytes()
