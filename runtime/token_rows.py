"""Text, or token ids, cut into rows of equal length: what a model is evaluated on, or calibrated with."""

import errno
import os
import stat
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from graphwright.runtime.errors import DataError
from graphwright.runtime.files import TEXT, read_bytes, read_text

if TYPE_CHECKING:
    from graphwright.runtime.tokenizer import Tokenizer

Ids = npt.NDArray[np.int64]
TokenSource = str | Path | npt.NDArray[np.integer[Any]]
"""The path of a text (UTF-8) or of a `.npy` file of token ids, or such an array: [rows, length] or a stream [n]."""


@dataclass(frozen=True)
class Stream:
    """Token ids, int64 [n] or [rows, length], and the bytes of text that one stands for on average, if it is known."""

    ids: Ids
    name: str
    bytes_per_token: float | None = None


def require_readable(source: TokenSource) -> None:
    """Raises DataError for a path at which there is no file that can be read, before any work is done for it."""
    if isinstance(source, np.ndarray):
        return
    try:
        with open(os.open(source, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # a named pipe would wait for its writer
            if not stat.S_ISREG(mode := os.fstat(file.fileno()).st_mode) and not stat.S_ISFIFO(mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
    except OSError as problem:
        raise DataError(f"{source} cannot be read: {problem.strerror}") from None


def read_stream(source: TokenSource, tokenizer: "Tokenizer | None", vocabulary_size: int) -> Stream:
    """The token ids of a source. Raises DataError where it has none, or some that are not in the vocabulary."""
    if isinstance(source, np.ndarray):
        return Stream(_checked(source, "the array", vocabulary_size), "the array")
    path = Path(source)
    if path.suffix == ".npy":
        try:
            array: Any = np.load(BytesIO(read_bytes(path, TEXT)), allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError) as problem:
            raise DataError(f"{path} cannot be read as an array of token ids: {problem}") from None
        return Stream(_checked(array, str(path), vocabulary_size), str(path))
    try:
        text = read_text(path, TEXT, pipes=True)
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; token ids are given as a .npy file") from None
    except OSError as problem:
        raise DataError(f"{path} cannot be read: {problem.strerror}") from None
    if tokenizer is None:
        raise DataError(f"{path} is a text, and the model has no tokenizer.json: name its folder, or give token ids")
    ids = np.array(tokenizer.encode(text, special_tokens=False), dtype=np.int64)
    if not ids.size:
        raise DataError(f"{path} holds no text")
    return Stream(_checked(ids, str(path), vocabulary_size), str(path), len(text.encode()) / len(ids))


def cut_rows(stream: Stream, *, length: int, rows: int | None, exact: bool, start: int | None = None) -> Ids:
    """Rows int64 [R, S] of a stream, evenly spread over it, at most `rows`; those of an array are its first ones.

    S is `length`, or less where the stream is shorter and `exact` is false. Each row begins with the token `start`, if
    there is one, which counts. Raises DataError for a stream too short for one row.
    """
    if length < 2:
        raise DataError(f"rows of {length} tokens predict nothing: they need 2 or more")
    if stream.ids.ndim == 2:
        found = stream.ids.shape[1]
        _check_length(stream.name, found, length, exact)
        return stream.ids[:rows, :length]
    first = 0 if start is None else 1
    found = len(stream.ids) + first
    _check_length(stream.name, found, length, exact)
    size = min(length, found) - first
    pieces = stream.ids[: len(stream.ids) // size * size].reshape(-1, size)
    if rows is not None and rows < len(pieces):
        pieces = pieces[np.arange(rows) * len(pieces) // rows]
    return pieces if start is None else np.pad(pieces, ((0, 0), (1, 0)), constant_values=start)


def start_token(tokenizer: "Tokenizer | None", begin_tokens: tuple[int, ...]) -> int | None:
    """The token that the tokenizer puts before a text, if it is one of those that begin a sequence."""
    first = [] if tokenizer is None else tokenizer.encode("", special_tokens=True)[:1]
    return first[0] if first and first[0] in begin_tokens else None


def _check_length(name: str, found: int, length: int, exact: bool) -> None:
    if found < (length if exact else 2):
        raise DataError(f"{name} has {found} tokens, too few for a row of {length}: give more, or a smaller length")


def _checked(array: Any, name: str, vocabulary_size: int) -> Ids:
    if array.ndim not in (1, 2) or array.dtype.kind not in "iu" or not array.size:
        raise DataError(f"{name} holds {array.dtype}{list(array.shape)}; it must be token ids, [rows, length] or [n]")
    if array.min() < 0 or array.max() >= vocabulary_size:
        wrong = array.min() if array.min() < 0 else array.max()
        raise DataError(f"{name} holds the token id {wrong}, outside the vocabulary (0 to {vocabulary_size - 1})")
    return array.astype(np.int64)
