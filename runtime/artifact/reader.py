"""Opening an artifact folder. Nothing in it is believed before it is checked."""

import json
import os
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from graphwright.runtime.artifact.checked_weights import State, is_remembered, remember
from graphwright.runtime.artifact.hashing import hash_files
from graphwright.runtime.artifact.manifest import (
    FORMAT,
    FORMAT_VERSION,
    LOWERED_FILE,
    MANIFEST_FILE,
    Manifest,
)
from graphwright.runtime.artifact.paths import resolve_inside
from graphwright.runtime.errors import ArtifactError
from graphwright.runtime.files import SETTINGS, TABLES, read_bytes, read_text
from graphwright.runtime.validation import first_finding

WEIGHTS_SUFFIX = ".safetensors"
LARGEST = 1 << 31
"""Bytes of a file that is not weights: no program for ONNX Runtime can have more."""
_ONLY_OURS = LOWERED_FILE, "program.so"
"""Files of artifacts that no other tool's folders have."""


@dataclass(frozen=True)
class Artifact:
    """An opened artifact whose files are those the manifest lists."""

    folder: Path
    manifest: Manifest

    def has(self, name: str) -> bool:
        return name in self.manifest.files

    def path(self, name: str) -> Path:
        """The file `name`, links followed. Raises ArtifactError when the manifest does not list it."""
        if not self.has(name):
            raise ArtifactError(f"{self.folder}: the artifact has no {name}")
        return resolve_inside(self.folder, name)

    def read_text(self, name: str) -> str:
        """The file `name` as UTF-8. Raises ArtifactError when it is not listed, too large, or not UTF-8."""
        try:
            return read_text(self.path(name), TABLES)
        except UnicodeDecodeError:
            raise ArtifactError(f"{self.folder}: {name} is not UTF-8 text") from None
        except OSError as error:
            raise ArtifactError(f"{self.folder}: {name} cannot be read: {error.strerror}") from None


def is_artifact(folder: Path) -> bool:
    """Whether `folder` carries a manifest of an artifact, of whatever format version."""
    try:
        _, manifest = _manifest_json(folder)
    except ArtifactError:
        return False
    return _is_manifest(manifest)


def claims_artifact(folder: Path) -> bool:
    """Whether `folder` is to be opened as an artifact: it is one, or, as what lies in it says, was meant to be.

    Raises ArtifactError for a manifest that cannot be read at all, so that a broken one is not taken for a folder that
    has none, as a checkpoint's.
    """
    if not os.path.lexists(folder / MANIFEST_FILE):
        return False
    _, manifest = _manifest_json(folder)
    return _is_manifest(manifest) or any(os.path.lexists(folder / name) for name in _ONLY_OURS)


def open_artifact(path: str | Path, *, verify: bool = True) -> Artifact:
    """Open the artifact folder `path` and check its manifest and the size and SHA-256 of every file.

    `verify=False` skips only the hashes, which cost a full read of the weights. Raises ArtifactError.
    """
    folder = Path(path)
    manifest = _read_manifest(folder)
    artifact = Artifact(folder, manifest)
    paths = [artifact.path(name) for name in manifest.files]
    for name, file in zip(manifest.files, paths, strict=True):
        expected, actual = manifest.files[name].size, file.stat().st_size
        if actual != expected:
            raise ArtifactError(
                f"{folder}: {name} has {actual} bytes instead of {expected}; copy or compile the artifact again"
            )
        if actual > LARGEST and not name.endswith(WEIGHTS_SUFFIX):
            raise ArtifactError(f"{folder}: {name} has {actual} bytes; only weights may have more than 2 GiB")
    if verify:
        _check_hashes(artifact, list(manifest.files))
    return artifact


@contextmanager
def artifact_while_checked(path: str | Path, *, verify: bool = True) -> Generator[Artifact]:
    """Like `open_artifact`, for a body that loads the program: weights are hashed while the body runs.

    Weights are numbers, so reading them early can do no harm; every other file is checked before the body runs. What
    the body made is to be used after the block, which raises ArtifactError if the weights turn out to be damaged.
    Large weights that an earlier load has hashed are not hashed again unless their file has changed since; see
    `checked_weights`. `open_artifact` hashes every file.
    """
    artifact = open_artifact(path, verify=False)
    if not verify:
        yield artifact
        return
    weights = [name for name in artifact.manifest.files if name.endswith(WEIGHTS_SUFFIX)]
    _check_hashes(artifact, [name for name in artifact.manifest.files if name not in weights])
    with ThreadPoolExecutor(max_workers=1) as pool:
        # In a copy of the context, so that whoever shows how far loading is sees this too.
        checked = pool.submit(copy_context().run, _check_weights, artifact, weights)
        try:
            yield artifact
        finally:
            # if the weights are damaged, that explains whatever went wrong in the body
            checked.result()


def _check_weights(artifact: Artifact, names: list[str]) -> None:
    """As `_check_hashes`, but for weights that are remembered."""
    try:
        states = {name: State.of(artifact.path(name)) for name in names}
    except OSError as error:
        raise ArtifactError(f"{artifact.folder}: a file cannot be read: {error}") from None
    digests = {name: artifact.manifest.files[name].sha256 for name in names}
    fresh = [name for name in names if not is_remembered(states[name], digests[name])]
    _check_hashes(artifact, fresh)
    for name in fresh:
        remember(artifact.path(name), states[name], digests[name])


def _check_hashes(artifact: Artifact, names: list[str]) -> None:
    try:
        found = hash_files([artifact.path(name) for name in names])
    except OSError as error:
        raise ArtifactError(f"{artifact.folder}: a file cannot be read: {error}") from None
    for name, actual in zip(names, found, strict=True):
        if actual != artifact.manifest.files[name]:
            raise ArtifactError(
                f"{artifact.folder}: {name} is damaged (its SHA-256 is not the manifest's); "
                "copy or compile the artifact again"
            )


def _manifest_json(folder: Path) -> tuple[bytes, Any]:
    """The manifest's text, and the JSON that it is. Raises ArtifactError where there is none."""
    try:
        text = read_bytes(folder / MANIFEST_FILE, SETTINGS)
    except FileNotFoundError:
        raise ArtifactError(
            f"{folder} is not a Graphwright artifact (it has no {MANIFEST_FILE}); "
            "compile a model with `graphwright compile` first"
        ) from None
    except OSError as error:
        raise ArtifactError(f"{folder}: {MANIFEST_FILE} cannot be read: {error.strerror}") from None
    try:
        return text, json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{folder}: {MANIFEST_FILE} is not valid JSON: {error}") from None


def _is_manifest(raw: Any) -> bool:
    return isinstance(raw, dict) and cast(dict[str, Any], raw).get("format") == FORMAT


def _read_manifest(folder: Path) -> Manifest:
    if not folder.exists():
        raise ArtifactError(f"{folder} does not exist; compile a model into it with `graphwright compile`")
    if not folder.is_dir():
        raise ArtifactError(f"{folder} is a file; an artifact is a folder written by `graphwright compile`")
    text, raw = _manifest_json(folder)
    if not _is_manifest(raw):
        raise ArtifactError(f"{folder} is not a Graphwright artifact (its {MANIFEST_FILE} is another tool's)")
    version = cast(dict[str, Any], raw).get("format_version")
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"{folder} has format version {version!r}; this Graphwright reads version {FORMAT_VERSION}: "
            "compile the model again or install the matching Graphwright"
        )
    try:
        return Manifest.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(f"{folder}: {MANIFEST_FILE}: {first_finding(error, Manifest)}") from None
