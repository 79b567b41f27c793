"""The bar of weights that are checked, or go to a device: on a terminal alone."""

from __future__ import annotations

import pytest

from graphwright.cli.output import loading_bar
from graphwright.runtime.progress import tell


def test_on_a_terminal_it_shows_how_far_the_weights_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "200")
    with loading_bar():
        tell("checking weights", 3_000_000, 4_000_000)
        tell("loading weights", 4_000_000, 4_000_000)
    written = capsys.readouterr()
    assert "loading weights" in written.err
    assert "4.0/4.0 MB" in written.err
    assert not written.out


def test_elsewhere_nothing_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    with loading_bar():
        tell("loading weights", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_nobody_needs_to_look() -> None:
    tell("loading weights", 1, 2)
