"""The artifact folder: its manifest, reading and writing it."""

from graphwright.runtime.artifact.folder import AtomicFolder
from graphwright.runtime.artifact.manifest import (
    CONTEXT_LENGTH,
    FORMAT_VERSION,
    MANIFEST_FILE,
    CacheSpec,
    EncoderSpec,
    FileEntry,
    Manifest,
    ModelInfo,
    Program,
    StateSpec,
    TensorSpec,
)
from graphwright.runtime.artifact.reader import Artifact, artifact_while_checked, is_artifact, open_artifact
from graphwright.runtime.artifact.writer import ArtifactWriter
from graphwright.runtime.element_types import ElementTypeName

__all__ = [
    "CONTEXT_LENGTH",
    "FORMAT_VERSION",
    "MANIFEST_FILE",
    "Artifact",
    "ArtifactWriter",
    "AtomicFolder",
    "CacheSpec",
    "ElementTypeName",
    "EncoderSpec",
    "FileEntry",
    "Manifest",
    "ModelInfo",
    "Program",
    "StateSpec",
    "TensorSpec",
    "artifact_while_checked",
    "is_artifact",
    "open_artifact",
]
