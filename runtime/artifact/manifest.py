"""What `manifest.json` says: the model, its program, and the size and hash of every file.

All models are strict: an unknown field or a value of another type is an error, so that a reader never half
understands an artifact.
"""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from graphwright.runtime.artifact.paths import is_plain_name
from graphwright.runtime.element_types import ElementTypeName

FORMAT = "graphwright-artifact"
FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"

DECODER_INPUT_RANKS = {"input_ids": 2, "past_length": 1, "new_length": 1, "logit_positions": 2}
"""The inputs of every decoder, all int64: [B, S], [B], [B] and [B, N]."""

CONTEXT_LENGTH = "context_length"
"""The input int64 [B] of an encoder, and maybe its decoder: how much of each row's context, padded behind, is real."""

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class TensorSpec(_Strict):
    """Element type and shape of one input or output; a dimension is a number or the name of a dynamic one."""

    dtype: ElementTypeName
    shape: tuple[Count | str, ...]


class CacheSpec(_Strict):
    """One KV cache: `contiguous`, of shape ["batch", heads, "capacity", head_size], bound in place to `input` and
    `output`; or a `ring` of a fixed number of places, ["batch", heads, places, head_size], read from `input` and
    written to `output`, another buffer. Position p of a row is at place p, of a ring at place p modulo their number.
    """

    input: str
    output: str
    dtype: ElementTypeName
    layout: Literal["contiguous", "ring"] = "contiguous"
    shape: tuple[Literal["batch"], Positive, Literal["capacity"] | Positive, Positive]

    @model_validator(mode="after")
    def _fixed_if_ring(self) -> Self:
        if (self.layout == "ring") != (self.shape[2] != "capacity"):
            raise ValueError("the shape of a ring has a number of places, that of a contiguous cache 'capacity'")
        return self


class StateSpec(_Strict):
    """One recurrent state, of shape ["batch", sizes…]: read from `input`, and written to `output`, another buffer.

    Zeros are the state of a row without tokens.
    """

    input: str
    output: str
    dtype: ElementTypeName
    shape: tuple[Literal["batch"] | Positive, ...]

    @field_validator("shape")
    @classmethod
    def _rows_first(cls, shape: tuple[str | int, ...]) -> tuple[str | int, ...]:
        if shape[:1] != ("batch",) or "batch" in shape[1:]:
            raise ValueError("the shape of a state is 'batch' and then numbers")
        return shape


class EncoderSpec(_Strict):
    """The program, in a file of its own, that runs once a prompt: a context in, what the decoder reads of it out.

    Its inputs are the context ["batch", …] and, where a size of that is dynamic, `CONTEXT_LENGTH`.
    """

    file: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    @property
    def context(self) -> tuple[str, TensorSpec]:
        """Name and type of the context."""
        return next((name, spec) for name, spec in self.inputs.items() if name != CONTEXT_LENGTH)

    @property
    def takes_tokens(self) -> bool:
        """Whether the context is token ids, int64 [B, T]."""
        _, spec = self.context
        return spec.dtype == "int64" and len(spec.shape) == 2

    @model_validator(mode="after")
    def _check(self) -> Self:
        contexts = [spec for name, spec in self.inputs.items() if name != CONTEXT_LENGTH]
        if len(contexts) != 1 or contexts[0].shape[:1] != ("batch",):
            raise ValueError("an encoder has one input beside context_length, whose first dimension is 'batch'")
        free = [size for size in contexts[0].shape[1:] if isinstance(size, str)]
        if free and (len(free) > 1 or contexts[0].shape[1] != free[0] or free[0] == "batch"):
            raise ValueError("the only dynamic dimension of a context beside 'batch' can be the second, its length")
        length = TensorSpec(dtype="int64", shape=("batch",))
        if self.inputs.get(CONTEXT_LENGTH) != (length if free else None):
            raise ValueError("an encoder has the input context_length, int64 ['batch'], if its context has a length")
        if not self.outputs or any(spec.shape[:1] != ("batch",) for spec in self.outputs.values()):
            raise ValueError("an encoder has outputs, whose first dimension is 'batch'")
        return self


class Program(_Strict):
    """The executable part.

    A `decoder` has the inputs of `DECODER_INPUT_RANKS`, the output `logits` (float32 [B, N, V]) and what it keeps of
    the tokens, caches and recurrent states; with an `encoder` it has that one's outputs as inputs too, and maybe its
    `CONTEXT_LENGTH`. A `function` is a plain callable that keeps nothing. `inputs` and `outputs` list everything but
    caches and states.
    `cpu_features` are names as in /proc/cpuinfo.
    """

    kind: Literal["decoder", "function"]
    backend: str
    dialect: str
    file: str
    cpu_features: tuple[str, ...] = ()
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    cache: tuple[CacheSpec, ...] = ()
    states: tuple[StateSpec, ...] = ()
    encoder: EncoderSpec | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """Of the programs: the decoder's or function's, and the encoder's."""
        return (self.file,) if self.encoder is None else (self.file, self.encoder.file)

    @property
    def in_place(self) -> tuple[CacheSpec, ...]:
        """What a step updates in the buffers it reads."""
        return tuple(c for c in self.cache if c.layout == "contiguous")

    @property
    def rings(self) -> tuple[CacheSpec, ...]:
        return tuple(c for c in self.cache if c.layout == "ring")

    @property
    def alternating(self) -> tuple[CacheSpec | StateSpec, ...]:
        """What a step reads from one buffer and writes to another."""
        return (*self.rings, *self.states)

    @property
    def kept(self) -> tuple[CacheSpec | StateSpec, ...]:
        """All that the program keeps from step to step."""
        return (*self.cache, *self.states)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "function":
            if self.kept:
                raise ValueError("a function has no cache and no state")
            if self.encoder is not None:
                raise ValueError("a function has no encoder")
            return self
        own = self._inputs_of_its_own()
        ranks = {name: len(spec.shape) for name, spec in own.items()}
        if ranks != DECODER_INPUT_RANKS or any(spec.dtype != "int64" for spec in own.values()):
            expected = ", ".join(f"{name} (rank {rank})" for name, rank in DECODER_INPUT_RANKS.items())
            raise ValueError(f"the inputs of a decoder beside its caches are {expected}, all int64")
        logits = self.outputs.get("logits")
        if len(self.outputs) != 1 or logits is None or logits.dtype != "float32" or len(logits.shape) != 3:
            raise ValueError("the only output of a decoder beside its caches is logits, float32 of rank 3")
        for names in ([*self.inputs, *(k.input for k in self.kept)], [*self.outputs, *(k.output for k in self.kept)]):
            if len(set(names)) != len(names):
                raise ValueError("two inputs or two outputs have the same name")
        return self

    def _inputs_of_its_own(self) -> dict[str, TensorSpec]:
        """A decoder's inputs that its encoder does not give."""
        if self.encoder is None:
            return self.inputs
        given = self.encoder.outputs
        if self.encoder.file == self.file or given.keys() & {*DECODER_INPUT_RANKS, CONTEXT_LENGTH}:
            raise ValueError("the encoder needs a file, and outputs, that are not the decoder's own")
        if any(self.inputs.get(name) != spec for name, spec in given.items()):
            raise ValueError("the outputs of the encoder must be inputs of the decoder")
        shared = self.encoder.inputs.get(CONTEXT_LENGTH)
        return {
            name: spec
            for name, spec in self.inputs.items()
            if name not in given and (name != CONTEXT_LENGTH or spec != shared)
        }


class ModelInfo(_Strict):
    """The model behind the program; a function may leave out what only language models have.

    `decoder_start_token_id` is what the tokens beside an encoded context begin with.
    """

    name: str
    architecture: str
    parameters: Count
    vocabulary_size: Positive | None = None
    context_length: Positive | None = None
    bos_token_ids: tuple[Count, ...] = ()
    eos_token_ids: tuple[Count, ...] = ()
    pad_token_id: Count | None = None
    decoder_start_token_id: Count | None = None


class FileEntry(_Strict):
    """Size in bytes and SHA-256 (lower-case hexadecimal) of one file."""

    size: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Manifest(_Strict):
    """The whole of `manifest.json`. `files` lists every file of the artifact except the manifest itself."""

    format: Literal["graphwright-artifact"] = FORMAT
    format_version: Literal[1] = FORMAT_VERSION
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
        return self
