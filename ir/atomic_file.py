"""A file that appears whole or not at all, and what a process that was killed has left of one.

A writer holds a lock on its file, which the system takes back when the process ends, however it ends.
"""

import fcntl
import os
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a fresh file and move it to `path`; a failure leaves what stood there. Raises OSError.

    What earlier writers of the same path that were killed have left is removed first.
    """
    _sweep(path)
    temporary, descriptor = _make_held(path)
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)


def _make_held(path: Path) -> tuple[Path, int]:
    """A fresh file beside `path`, open and locked. Another writer may sweep one that is not locked yet; then a next."""
    while True:
        temporary = path.with_name(f".{path.name}.new-{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        with suppress(OSError):  # where the file system has no locks, nothing is swept
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits for who is removing it
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(temporary)):
                return temporary, descriptor
        os.close(descriptor)


def _sweep(path: Path) -> None:
    names = re.compile(rf"\.{re.escape(path.name)}\.new-[0-9a-f]{{8}}")
    with suppress(OSError):
        # Caches have thousands of files: their names alone are looked at.
        for each in (path.with_name(name) for name in os.listdir(path.parent) if names.fullmatch(name)):
            if each.is_file() and not each.is_symlink():
                _remove_if_nobodys(each)


def _remove_if_nobodys(file: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.unlink()
        finally:
            os.close(descriptor)
