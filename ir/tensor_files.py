"""Files that hold tensors: what is in them, their values, and what tells one content of a file from another.

What is known of a file is kept under its path, and taken only while the file is the same one: training writes its next
weights under the old name, and links move.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from graphwright.ir.errors import WeightError
from graphwright.ir.pickled_tensors import PICKLED_SUFFIXES, open_pickled
from graphwright.ir.safetensors_file import open_safetensors, read_header
from graphwright.ir.types import TensorType

if TYPE_CHECKING:
    from torch import Tensor

REMEMBERED = 64
"""How many files are kept open."""


class OpenFile(Protocol):
    """A file that is mapped."""

    def get_tensor(self, name: str) -> Tensor: ...


@dataclass(frozen=True)
class FileIdentity:
    """What a file system says of a file that another one, or another content, does not share. Times in nanoseconds."""

    device: int
    inode: int
    size: int
    modified: int
    changed: int

    @classmethod
    def of(cls, path: str) -> FileIdentity:
        """Raises `WeightError` where there is no regular file."""
        try:
            found = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            raise WeightError(f"{path}: the file is missing") from None
        except (OSError, ValueError) as problem:
            raise WeightError(f"{path}: cannot be read ({getattr(problem, 'strerror', problem)})") from None
        if not stat.S_ISREG(found.st_mode):
            raise WeightError(f"{path}: the file is missing: what has its name is not a regular file")
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass
class TensorFile:
    """One content of a file: names and types of its tensors, and the file itself once a value was asked for."""

    path: str
    identity: FileIdentity
    tensors: Mapping[str, TensorType]
    _open: Callable[[str], OpenFile]
    _opened: OpenFile | None = field(default=None, repr=False)

    def read(self, name: str) -> Tensor:
        """The value of a tensor, mapped where it can be."""
        if self._opened is None:
            opened = self._open(self.path)
            require_same(self.path, self.identity)
            self._opened = opened
        return self._opened.get_tensor(name)


_files: dict[str, TensorFile] = {}


def tensor_file(path: str) -> TensorFile:
    """The file as it is now. Raises `WeightError` where it is missing, cut short, damaged, or of no kind that is read.

    Of a safetensors file the header alone is read.
    """
    identity = FileIdentity.of(path)
    known = _files.pop(path, None)
    if known is None or known.identity != identity:
        known = _first_look(path, identity)
        require_same(path, identity)
    _files[path] = known
    while len(_files) > REMEMBERED:
        _files.pop(next(iter(_files)), None)
    return known


def _first_look(path: str, identity: FileIdentity) -> TensorFile:
    if path.endswith(PICKLED_SUFFIXES):
        opened = open_pickled(path)
        return TensorFile(path, identity, opened.tensors, open_pickled, opened)
    return TensorFile(path, identity, read_header(path), open_safetensors)


def require_same(path: str, identity: FileIdentity) -> None:
    """Raises `WeightError` where the file of this path is not the one that it was."""
    if FileIdentity.of(path) != identity:
        raise WeightError(f"{path}: the file has changed since the program was made; capture the model again")
