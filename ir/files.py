"""Reading files that a stranger may have put there: regular files only, up to a size, without waiting for anything.

A named pipe would block, a device never end, and a file of holes is larger than memory. This file is the compiler's
own copy of `graphwright.runtime.files`: neither package may import the other.
"""

import errno
import os
import stat
from pathlib import Path

SETTINGS = 1 << 24
"""Bytes: more than any manifest or configuration has."""
TABLES = 1 << 28
"""Bytes: more than any tokenizer, or index of weights, has."""
TEXT = 1 << 30
"""Bytes of a text that is read whole: a program, a saved run, what a model is evaluated on."""


def read_bytes(path: str | Path, limit: int, *, pipes: bool = False) -> bytes:
    """The content of the regular file `path`, links followed; with `pipes` also of a pipe of a shell's, `<(command)`.

    Raises OSError, with a `strerror` that says so, for what is not a regular file or has more than `limit` bytes.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if pipes and _is_unnamed_pipe(status):
            os.set_blocking(descriptor, True)
        elif not stat.S_ISREG(status.st_mode):
            folder = stat.S_ISDIR(status.st_mode)
            raise OSError(errno.EINVAL, "it is a folder" if folder else "it is not a regular file", str(path))
        parts: list[bytes] = []
        size, total = status.st_size, 0
        while size <= limit and (part := os.read(descriptor, 1 << 20)):
            parts.append(part)
            total += len(part)
            size = max(size, total)
        if size > limit:
            raise OSError(errno.EFBIG, f"it has more than {limit >> 20} MiB, which is not read", str(path))
        return b"".join(parts)
    finally:
        os.close(descriptor)


def read_text(path: str | Path, limit: int, *, pipes: bool = False) -> str:
    """As `read_bytes`, as UTF-8 with newlines alone for ends of lines. Raises UnicodeDecodeError too."""
    text = read_bytes(path, limit, pipes=pipes).decode()
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _is_unnamed_pipe(status: os.stat_result) -> bool:
    """Whether it is a pipe that somebody has made and writes to. One that has a name may wait for a writer for ever."""
    if not stat.S_ISFIFO(status.st_mode):
        return False
    ends = os.pipe()
    device = os.fstat(ends[0]).st_dev
    for end in ends:
        os.close(end)
    return status.st_dev == device
