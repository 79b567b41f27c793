"""Every command that takes a checkpoint refuses code that came with one, and can be told that it does not matter."""

import json
from pathlib import Path

import pytest

from tests.graphwright.commands import Commands

COMMANDS = {
    "compile": ("-o", "out"),
    "export": ("-o", "out"),
    "trace": (),
    "opt": (),
    "explain": (),
    "report": ("-o", "page.html"),
    "quantize": ("--to", "w8", "-o", "out.gw"),
    "evaluate": ("--text", "text.txt"),
    "generate": ("Once",),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_code_that_came_with_a_checkpoint(
    command: str, commands: Commands, checkpoint_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("Once upon a time")
    file = checkpoint_copy / "config.json"
    settings = json.loads(file.read_text())
    settings |= {"architectures": ["OwnModel"], "auto_map": {"AutoModelForCausalLM": "own.OwnModel"}}
    file.write_text(json.dumps(settings))
    # What is missing is said after what is refused.
    (checkpoint_copy / "model.safetensors").unlink()
    call = (command, checkpoint_copy, *COMMANDS[command])
    refused = commands.fail(*call)
    assert "the model is 'OwnModel', code that came with the checkpoint (AutoModelForCausalLM: own.OwnModel)" in refused
    told = commands.run(*call, "--ignore-remote-code")
    assert told.status == 2
    note, error = told.errors.splitlines()
    assert note.startswith(f"note: {file}: the code that came with the checkpoint")
    assert error.startswith(f"error: {checkpoint_copy}: no weights")
