"""How commands speak: results on standard output, progress and remarks on standard error."""

import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import monotonic
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.text import Text

from graphwright.runtime.printable import printable
from graphwright.runtime.progress import loading_shown

STAGES = {
    "capture": "capturing the model",
    "check weights": "checking the weights",
    "optimize": "running the passes",
    "lower": "lowering the program",
    "quantize": "quantizing",
    "calibrate": "reading calibration tokens",
    "write text": "letting the model write text to measure by",
    "measure divergence": "measuring what quantization changed",
    "evaluate": "evaluating",
    "prove": "proving the passes",
    "reproduce": "looking for a small reproducer",
    "write": "writing the artifact",
    "compile kernels": "compiling kernels",
    "measure products": "measuring products of matrices",
    "measure launches": "measuring how soon one op follows another",
    "measure memory": "measuring memory bandwidth",
    "measure": "running what was compiled",
}


class PrintableConsole(Console):
    """Shows names and other text of files without what steers a terminal: what is printed comes through here."""

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def console() -> Console:
    """For results. Made on use, so that it writes to the standard output of that moment."""
    return PrintableConsole(highlight=False, soft_wrap=True)


def write_text(text: str, shown: Callable[[str], str] = printable) -> None:
    """Print a result that is text itself: as it is to a file or pipe, and as `shown` makes it to a terminal."""
    sys.stdout.write(shown(text) if sys.stdout.isatty() else text)


@contextmanager
def stage_display(*, shown: bool = True) -> Generator[Callable[[str], None]]:
    """Shows the stage at hand, if wanted. A stage may name its pass: `prove: PASS`.

    On a terminal it is a line that changes. Elsewhere, as in a log, a command that takes longer than `QUIET` seconds
    writes a line with the stage at hand, and another after each further `REPEAT`; a quick one writes nothing.
    """
    error_console = PrintableConsole(stderr=True, highlight=False, soft_wrap=True)
    if not shown:
        yield lambda _: None
    elif error_console.is_terminal:
        with error_console.status("starting") as status:
            yield lambda stage: status.update(escape(printable(_stage_text(stage))))
    else:
        with _StageLines(lambda line: error_console.print(line, markup=False)) as lines:
            yield lines.begin


@contextmanager
def loading_bar() -> Generator[None]:
    """On a terminal, a bar of the weights that are being checked, or copied to a device."""
    error_console = PrintableConsole(stderr=True, highlight=False, soft_wrap=True)
    if not error_console.is_terminal:
        yield
        return
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=error_console, transient=True) as progress:
        task = progress.add_task("", total=None, visible=False)

        def show(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total, visible=True)

        with loading_shown(show):
            yield


QUIET, REPEAT = 20.0, 60.0


class _StageLines:
    """Writes a line about the stage at hand now and then, from a thread of its own, while others run."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._over = threading.Event()
        self._stage = "starting"
        self._thread = threading.Thread(target=self._run, name="stage lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def begin(self, stage: str) -> None:
        """A stage begins, and the last one is over."""
        self._stage = _stage_text(stage)

    def _run(self) -> None:
        begun, pause = monotonic(), QUIET
        while not self._over.wait(pause):
            self._write(f"{self._stage} … {seconds_text(monotonic() - begun)} so far")
            pause = REPEAT


def _stage_text(stage: str) -> str:
    name, colon, detail = stage.partition(": ")
    return STAGES.get(name, name) + colon + detail


def size_text(size: int) -> str:
    """A number of bytes for reading: `512 B`, `1.5 MiB`."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{int(value)} B" if unit == "B" else f"{value:.1f} {unit}"


def seconds_text(seconds: float) -> str:
    """A time for reading: `12 µs`, `3.4 ms`, `5.6 s`."""
    for factor, unit in ((1.0, "s"), (1e-3, "ms")):
        if seconds >= factor:
            return f"{seconds / factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def count_text(count: int) -> str:
    """A large number for reading: `260 thousand`, `1.24 billion`."""
    for factor, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if count >= factor:
            return f"{count / factor:.3g} {word}"
    return str(count)


def counted(count: int, noun: str, plural: str = "") -> str:
    """A number with its noun: `1 pass`, `2 passes`; the plural is by default the noun with an s."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"
