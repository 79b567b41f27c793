"""The files within an archive, as torch's own reader sees them: which there may be, and how large."""

import io
import json
import re
from math import prod
from pathlib import Path
from typing import Any, cast

import torch

from graphwright.frontend.archive.screening import require_readable
from graphwright.frontend.expression_text import LARGEST, ExpressionError, quoted

PROGRAM = "models/model.json"
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_CONFIGURATIONS = {kind: f"data/{kind}/model_{kind}_config.json" for kind in ("weights", "constants")}
_KNOWN = re.compile(
    r"archive_format|archive_version|byteorder|version|\.format_version|\.storage_alignment|\.data/\w+|"
    r"models/model\.json|data/sample_inputs/model\.pt|data/(?:weights|constants)/\w+(?:\.json)?|extra/.*",
    re.ASCII,
)
LARGEST_TEXT = 64 << 20
"""Bytes of each of the other texts."""

_ELEMENT = re.compile(r"(?:weight|tensor|constant)_\d{1,9}", re.ASCII)
_MOST_EXPANDED = 1 << 28
"""Elements of all stored tensors together, if they repeat what is stored, as one that was expanded does."""


def require_safe(path: Path) -> None:
    """Raises `ExpressionError` for an archive that holds more than torch.export writes for a module of tensors.

    Torch opens the archive again by itself afterwards, and reads the same files in the same way.
    """
    reader = _reader(str(path))
    names = _require_bounded(reader, path.stat().st_size)
    strange = sorted(name for name in names if not _KNOWN.fullmatch(name))
    if strange:
        raise ExpressionError(f"it holds {quoted(strange[0])}; a program and its tensors alone are read")
    if PROGRAM not in names:
        raise ExpressionError(f"it has no {PROGRAM}")
    require_readable(reader.get_record(PROGRAM))
    elements = sum(
        _require_tensors(reader, set(names), kind, name) for kind, name in _CONFIGURATIONS.items() if name in names
    )
    # A stored element has at least one byte, so this bounds the memory that reading takes.
    if elements > max(path.stat().st_size, _MOST_EXPANDED):
        raise ExpressionError(f"its tensors have {elements} elements together, and it has {path.stat().st_size} bytes")
    if _SAMPLE_INPUTS in names:
        _require_bounded_pickle(reader.get_record(_SAMPLE_INPUTS))


def _reader(source: Any) -> Any:
    untyped: Any = torch._C
    try:
        return untyped.PyTorchFileReader(source)
    except RuntimeError:
        raise ExpressionError("it is damaged: torch finds no files in it") from None


def _require_bounded(reader: Any, size: int) -> list[str]:
    """The names of the files. Torch stores files as they are, so that together they are no larger than the archive."""
    names = cast("list[str]", reader.get_all_records())
    sizes = {name: int(reader.get_record_size(name)) for name in names}
    if sum(sizes.values()) > size:
        total = sum(sizes.values())
        raise ExpressionError(f"its files claim {total} bytes and the archive has {size}; torch packs none")
    texts = {name: n for name, n in sizes.items() if not name.startswith("data/") or name.endswith((".json", ".pt"))}
    largest = max((name for name in texts if name != PROGRAM), key=texts.__getitem__, default="")
    if largest and texts[largest] > LARGEST_TEXT:
        raise ExpressionError(f"its file {quoted(largest)} has {texts[largest]} bytes, {LARGEST_TEXT} at most are read")
    return names


def _require_bounded_pickle(content: bytes) -> None:
    """Example inputs are an archive in the archive."""
    if content[:2] == b"PK":
        _require_bounded(_reader(io.BytesIO(content)), len(content))


def _require_tensors(reader: Any, names: set[str], kind: str, configuration: str) -> int:
    """How many elements the tensors of a kind have."""
    try:
        described: Any = json.loads(reader.get_record(configuration).decode("utf-8"))
        entries: dict[str, Any] = dict(described["config"])
        return sum(_require_tensor(reader, names, kind, name, entry) for name, entry in entries.items())
    except ExpressionError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ExpressionError(f"its file {configuration} is damaged") from None


def _require_tensor(reader: Any, names: set[str], kind: str, name: str, entry: dict[str, Any]) -> int:
    """How many elements a tensor has."""
    file = entry["path_name"]
    if entry["use_pickle"] or not _ELEMENT.fullmatch(file):
        raise ExpressionError(f"{quoted(name)} is a pickled object, which can run code; tensors alone are read")
    record = f"data/{kind}/{file}"
    if record not in names:
        raise ExpressionError(f"the values of {quoted(name)} are missing")
    sizes = [size["as_int"] for size in entry["tensor_meta"]["sizes"]]
    if len(sizes) > 64 or not all(type(size) is int and 0 <= size <= LARGEST for size in sizes):
        raise ExpressionError(f"{quoted(name)} has no sizes")
    stored = int(reader.get_record_size(record))
    if prod(sizes) > (max(stored, _MOST_EXPANDED) if stored else 0):
        raise ExpressionError(f"{quoted(name)} has {prod(sizes)} elements, and {stored} bytes are stored")
    return prod(sizes)
