"""What comes in from a shell and from files of strangers, and what goes out to a terminal."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphwright.cli.output import console, write_text
from graphwright.runtime.printable import for_terminal
from tests.graphwright.cli.test_progress import Terminal
from tests.graphwright.commands import Commands
from tests.runtime import tokenizer_files
from tests.runtime.program import TinyDecoder, write_artifact

ESCAPE = "\x1b[31m"


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    text = tokenizer_files.byte_level()
    tiny = TinyDecoder(vocabulary_size=tokenizer_files.size(text), context_length=64)
    files = {"tokenizer.json": text, "chat_template.jinja": "{{ messages[0].content }}"}
    return write_artifact(tmp_path / "artifact", tiny, files=files)


def test_arguments_and_files_that_are_not_utf_8(commands: Commands, artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_bytes(b"caf\xe9")
    assert commands.fail("generate", artifact, "caf\udce9") == "the prompt is not UTF-8 text"
    assert commands.fail("generate", artifact, "caf\udce9", "--chat") == "the prompt is not UTF-8 text"
    assert commands.fail("generate", artifact, "a", "--stop", "caf\udce9") == "--stop is not UTF-8 text"
    assert commands.fail("generate", artifact, "--file", tmp_path / "prompt.txt").count("is not UTF-8 text") == 1
    assert "the prompt is not valid Unicode: it holds U+DCE9" in commands.fail("generate", artifact, stdin="caf\udce9")


def test_a_real_shell(artifact: Path) -> None:
    script = "from graphwright.cli import main; main()"
    command = [sys.executable, "-c", script, "generate", str(artifact), "caf\udce9"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"error: the prompt is not UTF-8 text\n")


def test_names_in_an_artifact_are_shown_without_what_steers_a_terminal(commands: Commands, artifact: Path) -> None:
    manifest = json.loads((artifact / "manifest.json").read_text())
    manifest["model"]["name"] = f"{ESCAPE}a\u202eb\ncontext    9 tokens"
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    shown = commands.succeed("inspect", artifact)
    assert shown.startswith(r"artifact   \x1b[31ma\u202eb\ncontext    9 tokens, format")
    manifest["producer"] = f"{ESCAPE}\udce9"
    manifest["format_version"] = ESCAPE
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    assert "\x1b" not in commands.fail("inspect", artifact)


def test_errors_are_shown_without_what_steers_a_terminal(commands: Commands, tmp_path: Path) -> None:
    assert commands.fail("inspect", f"{tmp_path}/{ESCAPE}\u202e").startswith(
        rf"{tmp_path}/\x1b[31m\u202e does not exist"
    )
    assert "\x1b" not in commands.fail("inspect", tmp_path, f"--{ESCAPE}")
    (tmp_path / "bad.gw").write_text(f'program "{ESCAPE}" {{}}')
    assert "\x1b" not in commands.fail("opt", tmp_path / "bad.gw", "--passes", ESCAPE)


def test_a_program_is_exact_in_a_pipe_and_printable_on_a_terminal(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f'program "{ESCAPE}"\n\ngraph forward(%x: f32[B]) {{\n  return y=%x\n}}\n'
    assert commands.succeed("opt", "-", "--passes", "canonicalize", stdin=text) == text
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    write_text(text)
    console().print(f"wrote {ESCAPE}", markup=False)
    assert "\x1b[31m" not in screen.getvalue()
    assert screen.getvalue().startswith(text.replace("\x1b", r"\x1b"))


class Speaking:
    """A model whose answer holds an escape sequence."""

    def generate(self, _: str, *, stream: Callable[[str], object], **options: Any) -> None:
        stream(f"{ESCAPE}r\u200ded\r\n")


def load_speaking(*_: object) -> Speaking:
    return Speaking()


def test_generated_text_is_exact_in_a_pipe_and_steers_no_terminal(
    commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphwright.cli.generate._load", load_speaking)
    assert commands.succeed("generate", "model", "a") == f"{ESCAPE}r\u200ded\r\n\n"
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    write_text(f"{ESCAPE}r\u200ded\r\n", for_terminal)
    assert screen.getvalue() == "\\x1b[31mr\u200ded\\r\n"


def test_an_output_that_takes_no_unicode(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graphwright.cli.generate._load", load_speaking)
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert commands.fail("generate", "model", "a") == (
        r"standard output takes ascii only, which has no '\u200d': set PYTHONIOENCODING=utf-8"
    )


def test_a_template_that_runs_on_ends_the_command_in_one_line(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = f"{{{{ raise_exception('{ESCAPE}') }}}}"
    text = tokenizer_files.byte_level()
    tiny = TinyDecoder(vocabulary_size=tokenizer_files.size(text))
    files = {"tokenizer.json": text, "chat_template.jinja": source}
    message = commands.fail("generate", write_artifact(tmp_path / "b", tiny, files=files), "a", "--chat")
    assert message.endswith(r"the chat template refused the messages: \x1b[31m")
