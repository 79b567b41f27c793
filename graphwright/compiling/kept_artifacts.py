"""Artifacts of checkpoints, kept between compiles: a second one is a copy, and imports neither torch nor a backend.

An artifact's name states all that could make another one: what a capture's does (`graphwright.ir.origin`), the files
that go along, every option, and all of our own source. Whatever cannot be named so is not kept: a model that a Python
file makes, an archive, a program, one that is quantized.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from graphwright.ir.cache_folder import Cache
from graphwright.ir.notices import notify
from graphwright.ir.origin import Identities, content_name, files_in, nothing_is_replaced
from graphwright.runtime.artifact import MANIFEST_FILE, AtomicFolder, Manifest, is_artifact, open_artifact
from graphwright.runtime.errors import ArtifactError

if TYPE_CHECKING:
    from graphwright.compiling.compiler import Options
    from graphwright.sources.models import Source

RECORDS = Cache("artifacts", most_bytes=1 << 20)
"""Of each artifact the hash of its manifest, and the notices that were given."""
MOST_BYTES = 2 << 30
"""What the artifacts themselves, in `artifact-folders`, may have together."""
LARGEST = 1 << 30
"""Bytes of one that is kept."""
OURS = ("", ".ir", ".frontend", ".passes", ".backends", ".runtime")


class KeptArtifact:
    """The place of an artifact that a request asks for, whether there is one or not."""

    def __init__(self, folders: Sequence[Path], files: Identities, request: object) -> None:
        self._folders, self._files = folders, files
        specs = (find_spec(f"graphwright{name}") for name in OURS)
        roots = [Path(root) for spec in specs if spec for root in spec.submodule_search_locations or ()]
        self._name = content_name(folders, files, request, *roots)
        self._folder = RECORDS.folder.with_name("artifact-folders") / self._name

    @classmethod
    def of(cls, source: Source, options: Options) -> KeptArtifact | None:
        """None for a request whose artifact is not kept."""
        model = source.model
        made_here = isinstance(model, Path) and model.is_dir() and source.example_inputs is None and source.kept is None
        plain = isinstance(options.backend, str) and options.quantization is None
        if not (made_here and plain and (options.pipeline is None or isinstance(options.pipeline, str))):
            return None
        named = [model, source.assets, source.options.adapter, options.assets]
        folders = [Path(folder) for folder in dict.fromkeys(map(str, filter(None, named)))]
        folders += [
            inner for folder in folders for inner in folder.iterdir() if inner.is_dir() and "template" in inner.name
        ]
        files = files_in(folders) if nothing_is_replaced() else None
        asked = [(field.name, str(getattr(options, field.name))) for field in fields(options)]
        return None if files is None else cls(folders, files, (source.name, source.options, asked))

    def copy_to(self, folder: Path) -> Manifest | None:
        """The manifest of the artifact, which is now in `folder`, with its notices; None where none is kept.

        Raises ArtifactError where the folder may not be replaced or cannot be written.
        """
        content = RECORDS.kept(self._name)
        if content is None or not self._folder.is_dir():
            return None
        record: Any = json.loads(content)
        with AtomicFolder(folder, is_artifact) as fresh:
            try:
                shutil.copytree(self._folder, fresh.path, dirs_exist_ok=True)
                manifest = open_artifact(fresh.path).manifest
            except (OSError, ArtifactError):
                return None
            if _manifest_hash(fresh.path) != record["manifest"]:
                return None
            fresh.commit()
        with suppress(OSError):
            os.utime(self._folder)
        for message in record["notices"]:
            notify(message)
        return manifest

    def keep(self, folder: Path, manifest: Manifest, notices: Sequence[str]) -> None:
        """Keep an artifact that was made for this request, if there is a place that can be written to."""
        size = sum(entry.size for entry in manifest.files.values())
        if size > LARGEST or files_in(self._folders) != self._files:
            return
        with suppress(OSError):
            place = self._folder.parent
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            _make_room(place, size)
            fresh = place / f".new-{secrets.token_hex(8)}"
            try:
                shutil.copytree(folder, fresh, copy_function=_linked)
                shutil.rmtree(self._folder, ignore_errors=True)
                fresh.rename(self._folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            record = {"manifest": _manifest_hash(folder), "notices": list(notices)}
            RECORDS.keep(self._name, json.dumps(record).encode())


def _manifest_hash(folder: Path) -> str:
    return sha256((folder / MANIFEST_FILE).read_bytes()).hexdigest()


def _linked(source: str, target: str) -> None:
    """One file under both names, where both are on one file system: whoever changes one is found out by its hash."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _make_room(place: Path, wanted: int) -> None:
    """Remove the folders that were used longest ago, and what a writer that was killed left, for so many bytes."""
    found = sorted((folder for folder in place.iterdir()), key=lambda folder: folder.stat().st_mtime, reverse=True)
    left = MOST_BYTES - wanted
    for folder in found:
        left -= sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        if left < 0:
            shutil.rmtree(folder, ignore_errors=True)
