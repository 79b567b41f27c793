"""A folder that appears whole or not at all."""

import errno
import os
import secrets
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from graphwright.runtime.artifact.stale_folders import hold, make_held, remove, sibling, sweep
from graphwright.runtime.errors import ArtifactError


class AtomicFolder:
    """Write into `path`, a fresh sibling of `target`; `commit` moves it to `target`, anything else discards it.

    An existing `target` is replaced only when it is an empty folder or when `replaceable(target)` holds. Raises
    ArtifactError when the target may not be replaced or its place cannot be written. What a writer of the same target
    that was killed has left is removed first.

        with AtomicFolder("out/model") as folder:
            (folder.path / "a.txt").write_text("…")
            folder.commit()
    """

    def __init__(self, target: str | Path, replaceable: Callable[[Path], bool] = lambda _: False) -> None:
        # A trailing ".." or a bare "." has no name to put a sibling beside.
        self.target = Path(os.path.abspath(target))
        self._replaceable = replaceable
        self.path = sibling(self.target, "new")  # as long as there is none
        self._held: int | None = None
        self._committed = False

    def __enter__(self) -> Self:
        try:
            sweep(self.target)
            self._check_target()
            self.target.parent.mkdir(parents=True, exist_ok=True)
            self.path, self._held = make_held(self.target)
        except OSError as error:
            raise ArtifactError(f"{self.target} cannot be written: {error.strerror}") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self._committed:
            shutil.rmtree(self.path, ignore_errors=True)
        if self._held is not None:
            os.close(self._held)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ArtifactError(f"{self.target} cannot be written: {error.strerror}") from None

    def check(self) -> None:
        """Raise ArtifactError where the folder could not be written now. Nothing is left behind."""
        try:
            self._check_target()
            probe_place(self.target)
        except OSError as error:
            raise ArtifactError(f"{self.target} cannot be written: {error.strerror}") from None

    def commit(self) -> None:
        """Put the folder in its place, taking away what stood there."""
        old, held = sibling(self.target, "old"), None
        try:
            self._check_target()
            replaced = self.target.exists()
            held = hold(self.target)
            if replaced:
                self.target.rename(old)
            try:
                self.path.rename(self.target)
            except OSError:
                if replaced:
                    with suppress(OSError):
                        old.rename(self.target)
                raise
        except OSError as error:
            raise ArtifactError(f"{self.target} cannot be written: {error.strerror}") from None
        finally:
            if held is not None:
                os.close(held)
        self._committed = True
        remove(old, self.target)

    def _check_target(self) -> None:
        target = self.target
        if target.is_symlink():
            raise ArtifactError(f"{target} is a link; name the folder itself")
        if not target.exists():
            return
        if not target.is_dir():
            raise ArtifactError(f"{target} exists and is not a folder; choose another path")
        if any(target.iterdir()) and not self._replaceable(target):
            raise ArtifactError(
                f"{target} exists and was not written by this command; remove it or choose another path"
            )


def probe_place(target: Path) -> None:
    """Raise OSError unless something new can be made where `target` is to stand: a folder is made there, and removed.

    Permissions alone do not tell: the superuser has them on file systems that take nothing.
    """
    place = Path(os.path.abspath(target)).parent
    while not place.exists():
        place = place.parent
    probe = place / f".{target.name[:32]}.probe-{secrets.token_hex(4)}"
    probe.mkdir()
    probe.rmdir()
