"""Temporary folders that go when the process ends, or, if that was killed, when a later one needs a folder."""

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from graphwright.runtime.artifact.stale_folders import hold

PREFIX = "graphwright-"
MARK = ".graphwright-temporary"
"""A file in each of them: a folder of a user's may have such a name too."""


class TemporaryFolder:
    """A fresh folder, `path`, until `remove`. Sweeps those of processes that are no more."""

    def __init__(self) -> None:
        _sweep()
        self.path = Path(mkdtemp(prefix=PREFIX))
        self._held, self._owner = hold(self.path), os.getpid()
        (self.path / MARK).touch()

    def remove(self) -> None:
        """What a forked child does not do: the folder is its parent's."""
        if os.getpid() == self._owner:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)
            self._held = None


@contextmanager
def temporary_folder() -> Generator[Path]:
    """For the duration of the block."""
    folder = TemporaryFolder()
    try:
        yield folder.path
    finally:
        folder.remove()


def _sweep() -> None:
    with suppress(OSError):
        for path in Path(gettempdir()).glob(f"{PREFIX}*"):
            with suppress(OSError):
                ours = path.is_dir() and not path.is_symlink() and path.stat().st_uid == os.geteuid()
                if ours and (path / MARK).is_file() and (held := hold(path)) is not None:
                    shutil.rmtree(path, ignore_errors=True)
                    os.close(held)
