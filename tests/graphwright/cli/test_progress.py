"""What names stage and pass: a line that changes on a terminal, and elsewhere lines now and then."""

import io
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from graphwright.cli import output
from graphwright.cli.output import seconds_text, stage_display
from tests.graphwright.commands import Commands

TEXT = 'program "small"\n\ngraph forward(%x: f32[B]) {\n  %0 = neg(%x) : f32[B]\n  return y=%0\n}\n'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_stages_and_their_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown: list[str] = []
    for stage in ("capture", "optimize: fuse-norms", "prove: convert-dtype{to=[f64]}", "else", "optimize: \x1b[5m"):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        with stage_display() as on_stage:
            on_stage(stage)
        shown.append(terminal.getvalue())
    for text, expected in zip(
        shown,
        (
            "capturing the model",
            "running the passes: fuse-norms",
            "proving the passes: convert-dtype{to=[f64]}",
            "else",
            "running the passes: \\x1b[5m",
        ),
        strict=True,
    ):
        assert expected in text


def test_nothing_without_a_terminal_or_where_it_would_be_in_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, wanted in ((io.StringIO(), True), (Terminal(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        with stage_display(shown=wanted) as on_stage:
            on_stage("capture")
        assert stream.getvalue() == ""


class Log(io.StringIO):
    """No terminal. Knows when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str, /) -> int:
        count = super().write(text)
        if text.endswith("\n"):
            self.written.set()
        return count


def test_lines_without_a_terminal_where_it_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log()
    monkeypatch.setattr(sys, "stderr", log)
    monkeypatch.setattr(output, "QUIET", 0.01)
    monkeypatch.setattr(output, "REPEAT", 0.01)
    stages = {
        "quantize": "quantizing",
        "optimize: gptq{bits=[4]}, 3 of 97": "running the passes: gptq{bits=[4]}, 3 of 97",
    }
    with stage_display() as on_stage:
        for stage, words in stages.items():
            on_stage(stage)
            while words not in log.getvalue():
                log.written.clear()
                assert log.written.wait(10)
    count = len(log.getvalue().splitlines())
    for line in log.getvalue().splitlines():
        words, _, time = line.partition(" … ")
        assert words in ("starting", *stages.values())
        assert time.endswith(" so far")
        assert "\x1b" not in line
    assert not any(thread.name == "stage lines" for thread in threading.enumerate())
    assert len(log.getvalue().splitlines()) == count


def test_commands_are_quiet_without_a_terminal(commands: Commands) -> None:
    for command in ("opt", "explain"):
        outcome = commands.run(command, "-", "--passes", "canonicalize", stdin=TEXT)
        assert (outcome.status, outcome.errors) == (0, "")


def test_a_command_on_a_terminal_names_the_pass_and_cleans_up(tmp_path: Path) -> None:
    (tmp_path / "small.gw").write_text(TEXT)
    main, side = pty.openpty()
    script = "from graphwright.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "opt", "small.gw", "--passes", "canonicalize,fuse-norms"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=side,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
        text=True,
        check=True,
    )
    os.close(side)
    shown = os.read(main, 1 << 16).decode()
    os.close(main)
    assert done.stdout == TEXT
    assert "running the passes: fuse-norms" in shown
    assert shown.endswith("\x1b[2K")  # the line is erased


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0 µs"), (12e-6, "12 µs"), (3.44e-3, "3.44 ms"), (5.678, "5.68 s"), (75.0, "75 s")]
)
def test_times_for_reading(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
