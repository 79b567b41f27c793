"""The artifact folder: its manifest, reading and writing it."""

from graphwright.runtime.artifact.alternative import Alternative
from graphwright.runtime.artifact.convention import CONTEXT_LENGTH
from graphwright.runtime.artifact.encoder import EncoderSpec
from graphwright.runtime.artifact.folder import AtomicFolder
from graphwright.runtime.artifact.functions import FunctionSpec
from graphwright.runtime.artifact.manifest import (
    FORMAT_VERSION,
    LOWERED_FILE,
    MANIFEST_FILE,
    PLAN_FILE,
    FileEntry,
    Manifest,
    ModelInfo,
)
from graphwright.runtime.artifact.program import Program
from graphwright.runtime.artifact.reader import (
    Artifact,
    artifact_while_checked,
    claims_artifact,
    is_artifact,
    open_artifact,
)
from graphwright.runtime.artifact.tensors import CacheSpec, StateSpec, TensorSpec
from graphwright.runtime.artifact.writer import ArtifactWriter
from graphwright.runtime.element_types import ElementTypeName

__all__ = [
    "CONTEXT_LENGTH",
    "FORMAT_VERSION",
    "LOWERED_FILE",
    "MANIFEST_FILE",
    "PLAN_FILE",
    "Alternative",
    "Artifact",
    "ArtifactWriter",
    "AtomicFolder",
    "CacheSpec",
    "ElementTypeName",
    "EncoderSpec",
    "FileEntry",
    "FunctionSpec",
    "Manifest",
    "ModelInfo",
    "Program",
    "StateSpec",
    "TensorSpec",
    "artifact_while_checked",
    "claims_artifact",
    "is_artifact",
    "open_artifact",
]
