"""A published model, compiled and asked for its published text."""

from pathlib import Path

import pytest

from tests.graphwright.commands import Commands

STORIES = Path(__file__).parents[4] / "shared" / "models" / "stories260k"


@pytest.mark.parametrize(
    "options",
    [["--dialect", "ort"], ["--dialect", "portable"], ["--quantize", "w8"], ["--backend", "tvm"]],
    ids=lambda o: o[1],
)
def test_greedy_text_is_the_published_one(commands: Commands, tmp_path: Path, options: list[str]) -> None:
    if not STORIES.exists():
        pytest.skip("the shared model stories260k is not here")
    commands.succeed("compile", STORIES, "-o", tmp_path / "out", *options)
    text = commands.succeed("generate", tmp_path / "out", "--max-new-tokens", "256")
    assert text.encode() == (STORIES / "EXPECTED.txt").read_bytes()
