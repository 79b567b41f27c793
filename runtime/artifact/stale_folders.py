"""Folders beside a target: what is being written there, and what a process that was killed has left of that.

A writer holds a lock on its folder, which the system takes back when the process ends, however it ends. So a folder
whose lock can be had belongs to nobody.
"""

import fcntl
import os
import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Literal

Role = Literal["new", "old", "gone"]
"""What is being written; what is whole, and stood in the target's place; what is to be removed."""


def sibling(target: Path, role: Role) -> Path:
    """A name beside the target that nothing has."""
    return target.with_name(f".{target.name}.{role}-{secrets.token_hex(4)}")


def hold(folder: Path) -> int | None:
    """A descriptor that holds the folder's lock until it is closed; None if another has it, or the folder is gone."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # It may have been moved or removed between the two.
        if os.path.samestat(os.fstat(descriptor), os.stat(folder)):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def make_held(target: Path) -> tuple[Path, int | None]:
    """A new folder beside the target and a descriptor that holds its lock; None on a file system without locks.

    Another writer may sweep a folder that nobody holds yet: then a further one is made.
    """
    while True:
        path = sibling(target, "new")
        path.mkdir()
        with suppress(FileNotFoundError):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # waits for who is removing it
            except OSError:
                os.close(descriptor)
                return path, None
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                    return path, descriptor
            os.close(descriptor)


def sweep(target: Path) -> None:
    """Remove what writers of `target` that are no more have left; what stood in its place goes back if nothing does."""
    names = re.compile(rf"\.{re.escape(target.name)}\.(new|old|gone)-[0-9a-f]{{8}}")
    with suppress(OSError):
        for path in target.parent.iterdir():
            match = names.fullmatch(path.name)
            if match is None or (held := hold(path)) is None:
                continue
            try:
                if match[1] == "old" and not os.path.lexists(target):
                    path.rename(target)
                else:
                    remove(path, target)
            finally:
                os.close(held)


def remove(folder: Path, target: Path) -> None:
    """Remove a folder beside the target. What is left if that is cut short does not look whole."""
    gone = sibling(target, "gone")
    with suppress(OSError):
        folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
