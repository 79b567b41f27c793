"""How commands speak: results on standard output, progress and remarks on standard error."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console

STAGES = {
    "capture": "capturing the model",
    "check weights": "checking the weights",
    "optimize": "running the passes",
    "write": "writing the artifact",
    "measure products": "measuring products of matrices",
    "measure launches": "measuring how soon one op follows another",
    "measure memory": "measuring memory bandwidth",
}


def console() -> Console:
    """For results. Made on use, so that it writes to the standard output of that moment."""
    return Console(highlight=False, soft_wrap=True)


@contextmanager
def stage_display() -> Generator[Callable[[str], None]]:
    """Shows the stage at hand on a terminal; elsewhere nothing."""
    error_console = Console(stderr=True, highlight=False)
    if not error_console.is_terminal:
        yield lambda _: None
        return
    with error_console.status("starting") as status:
        yield lambda stage: status.update(STAGES.get(stage, stage))


def size_text(size: int) -> str:
    """A number of bytes for reading: `512 B`, `1.5 MiB`."""
    value, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{int(value)} B" if unit == "B" else f"{value:.1f} {unit}"


def count_text(count: int) -> str:
    """A large number for reading: `260 thousand`, `1.24 billion`."""
    for factor, word in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if count >= factor:
            return f"{count / factor:.3g} {word}"
    return str(count)
