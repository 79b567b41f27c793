"""What `manifest.json` says: the model, its program, and the size and hash of every file."""

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from graphwright.runtime.artifact.convention import LOGITS
from graphwright.runtime.artifact.paths import is_plain_name
from graphwright.runtime.artifact.program import Program
from graphwright.runtime.artifact.strict import MOST_BYTES, Count, Positive, Strict

FORMAT = "graphwright-artifact"
FORMAT_VERSION = 2
MANIFEST_FILE = "manifest.json"
LOWERED_FILE = "lowered.gw"
"""The lowered program as text, for people and for the interpreter; the runtime never reads it."""
PLAN_FILE = "plan.txt"
"""How the lowered program's graphs run, as text, where a backend plans that; the runtime never reads it."""


class ModelInfo(Strict):
    """The model behind the program; a function may leave out what only language models have.

    `decoder_start_token_id` is what the tokens beside an encoded context begin with.
    """

    name: str
    architecture: str
    parameters: Annotated[int, Field(ge=0, le=MOST_BYTES)]
    vocabulary_size: Positive | None = None
    context_length: Positive | None = None
    bos_token_ids: tuple[Count, ...] = ()
    eos_token_ids: tuple[Count, ...] = ()
    pad_token_id: Count | None = None
    decoder_start_token_id: Count | None = None


class FileEntry(Strict):
    """Size in bytes and SHA-256 (lower-case hexadecimal) of one file.

    Of a file larger than a part (64 MiB) it is the SHA-256 of its parts' SHA-256, one after the other as bytes: see
    `hashing`.
    """

    size: Annotated[int, Field(ge=0, le=MOST_BYTES)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(Strict):
    """The whole of `manifest.json`. `files` lists every file of the artifact except the manifest itself."""

    format: Literal["graphwright-artifact"] = FORMAT
    format_version: Literal[2] = FORMAT_VERSION
    producer: str
    model: ModelInfo
    program: Program
    files: dict[str, FileEntry]

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if not is_plain_name(name) or name == MANIFEST_FILE:
                raise ValueError(f"{name!r} is not a plain name inside the folder")
        return files

    @model_validator(mode="after")
    def _check(self) -> Self:
        for file in self.program.files:
            if file not in self.files:
                raise ValueError(f"the program's file {file!r} is not among the files")
        if self.program.kind == "decoder" and None in (self.model.vocabulary_size, self.model.context_length):
            raise ValueError("the model of a decoder needs vocabulary_size and context_length")
        if self.program.kind == "decoder":
            *_, vocabulary = self.program.outputs[LOGITS].shape
            if vocabulary != self.model.vocabulary_size:
                raise ValueError(f"logits are of {vocabulary} tokens, vocabulary_size is {self.model.vocabulary_size}")
        return self
