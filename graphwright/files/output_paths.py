"""Where results go, checked before any work is done for them."""

from collections.abc import Callable
from pathlib import Path

from graphwright.errors import OptionError
from graphwright.runtime.artifact import AtomicFolder
from graphwright.runtime.artifact.folder import probe_place

FILE_SUFFIXES = (
    *(".bin", ".csv", ".gguf", ".gw", ".gz", ".h5", ".htm", ".html", ".json", ".log", ".md", ".npy", ".npz", ".onnx"),
    *(".pdf", ".pkl", ".pt", ".pt2", ".pth", ".py", ".safetensors", ".so", ".tar", ".txt", ".xml", ".yaml", ".zip"),
)
"""Endings of names that are a file's to anyone who reads them."""


def require_folder(output: Path, replaceable: Callable[[Path], bool] = lambda _: False, what: str = "a folder") -> None:
    """Raise `OptionError` for a name that is a file's, and ArtifactError where the folder could not be written.

    `replaceable` tells which folders with content may be replaced.
    """
    if output.suffix.lower() in FILE_SUFFIXES and not output.is_dir():
        raise OptionError(f"{output} is a file's name, and the output is {what}: leave out {output.suffix}")
    AtomicFolder(output, replaceable).check()


def require_file(output: Path, suffixes: tuple[str, ...], what: str) -> None:
    """Raise `OptionError` unless `output`, the name of `what`, has one of the suffixes and can be written."""
    if output.suffix not in suffixes:
        raise OptionError(f"{output}: the name of {what} ends in {' or '.join(suffixes)}")
    if output.is_dir():
        raise OptionError(f"{output} is a folder; give the name of {what}")
    try:
        probe_place(output)
    except OSError as error:
        raise OptionError(f"{output} cannot be written: {error.strerror}") from None
