"""Loading of an archive by torch, once its content is held to what torch writes."""

import logging
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from graphwright.frontend.archive.members import require_safe
from graphwright.frontend.errors import CheckpointError
from graphwright.frontend.expression_text import ExpressionError

VERSION_FILE = "archive_version"


def load(path: Path) -> ExportedProgram:
    """The program of an archive.

    Raises `CheckpointError` for a file that is no archive of torch.export, that holds what could run code or takes
    more time or memory than its size lets expect, or that this torch cannot read.
    """
    _require_version(path)
    try:
        require_safe(path)
    except ExpressionError as problem:
        raise CheckpointError(f"{path}: cannot read this archive: {problem}") from None
    from torch.export.pt2_archive._package import load_pt2

    try:
        with _careful():
            return load_pt2(str(path)).exported_programs["model"]
    except Exception as problem:
        raise CheckpointError(
            f"{path}: torch {torch.__version__} cannot read this archive ({first_line(problem)}); export it again"
        ) from None


def _require_version(path: Path) -> None:
    version = ""
    try:
        with zipfile.ZipFile(path) as archive:
            versions = [m for m in archive.infolist() if m.filename.rpartition("/")[2] == VERSION_FILE]
            if versions and versions[0].file_size < 100:
                version = archive.read(versions[0]).decode(errors="replace").strip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError, OSError):
        raise CheckpointError(f"{path}: not an archive of torch.export") from None
    if not version:
        raise CheckpointError(f"{path}: not an archive of torch.export (it has no {VERSION_FILE})")
    from torch.export.pt2_archive.constants import ARCHIVE_VERSION_VALUE

    if version != ARCHIVE_VERSION_VALUE:
        raise CheckpointError(
            f"{path}: archive version {version}, this torch reads {ARCHIVE_VERSION_VALUE}; export it with this torch"
        )


@contextmanager
def _careful() -> Generator[None]:
    """While this lasts torch runs no pickled code and does not log stack traces before it raises."""
    logger, load = logging.getLogger("torch.export"), torch.load

    def load_data(*arguments: Any, **options: Any) -> Any:
        if options.get("weights_only") is False:
            raise RuntimeError("it holds pickled objects, which can run code")
        return load(*arguments, **options)

    before, logger.disabled = logger.disabled, True
    torch.load = load_data
    try:
        yield
    finally:
        logger.disabled = before
        torch.load = load


def first_line(problem: Exception) -> str:
    """A failure of torch in a line: its kind and the beginning of what it says, which may quote the file as it is."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    said = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in lines[0][:300]) if lines else ""
    return f"{type(problem).__name__}: {said}" if said else type(problem).__name__
