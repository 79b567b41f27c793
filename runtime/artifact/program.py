"""What is executed: the files, what goes in and comes out, and what is kept from step to step."""

from typing import Literal, Self

from pydantic import model_validator

from graphwright.runtime.artifact.alternative import Alternative
from graphwright.runtime.artifact.convention import (
    CHOSEN,
    CONTEXT_LENGTH,
    DECODER_INPUTS,
    LENGTH_AFTER,
    LOGITS,
    SAMPLING,
    SAMPLING_KEY,
)
from graphwright.runtime.artifact.encoder import EncoderSpec
from graphwright.runtime.artifact.functions import FunctionSpec, check_dimensions, check_functions
from graphwright.runtime.artifact.strict import Strict
from graphwright.runtime.artifact.tensors import CacheSpec, StateSpec, TensorSpec

DECODER_INPUT_RANKS = dict(zip(DECODER_INPUTS, (2, 1, 1, 2), strict=True))
"""The inputs of every decoder, all int64: [B, S], [B], [B] and [B, N]."""

PLANNED = ("tvm", "cuda")
"""The backends whose programs are functions over one file of weights."""


class Program(Strict):
    """The executable part.

    A `decoder` has the inputs of `DECODER_INPUT_RANKS`, the output `logits` (float32 [B, N, V]) and what it keeps of
    the tokens, caches and recurrent states; with an `encoder` it has that one's outputs as inputs too, and maybe its
    `CONTEXT_LENGTH`. A `function` is a plain callable that keeps nothing. `inputs` and `outputs` list everything but
    caches and states.
    `cpu_features` are names as in /proc/cpuinfo. Where `rows_apart` holds, a step of several tokens is for one row, and
    the engine runs it once for each. Where `recordable` holds, a step on a GPU is kernels from end to end, so that it
    may be recorded as a CUDA graph.

    Of the backend `tvm`, `file` is a library of `functions`, of which a call runs the first that takes its sizes; the
    function of an encoder's library is `encode`. `weights` is the file that they all read, as it is, and `dimensions`
    is the order in which they take sizes to tell the workspace that a call needs. `target` is the name of the CPU that
    it was compiled for; where it is `untuned`, nobody has measured that. `alternatives` are for machines that lack
    features of this one: the first whose features a machine has is what it runs.
    """

    kind: Literal["decoder", "function"]
    backend: str
    dialect: str
    file: str
    weights: str | None = None
    target: str = ""
    cpu_features: tuple[str, ...] = ()
    untuned: bool = False
    alternatives: tuple[Alternative, ...] = ()
    rows_apart: bool = False
    recordable: bool = False
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    cache: tuple[CacheSpec, ...] = ()
    states: tuple[StateSpec, ...] = ()
    encoder: EncoderSpec | None = None
    functions: tuple[FunctionSpec, ...] = ()
    dimensions: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Of the programs, the decoder's or function's and the encoder's, and the weights that they name."""
        programs = [(each.file, None if each.encoder is None else each.encoder.file) for each in self.versions]
        return tuple(file for file in (*(file for pair in programs for file in pair), self.weights) if file is not None)

    @property
    def versions(self) -> "tuple[Program, ...]":
        """The program for each CPU that it was compiled for, the best first, each without alternatives."""
        own = self.model_copy(update={"alternatives": ()})
        return (own, *(own.model_copy(update=self._replaced(each)) for each in self.alternatives))

    def _replaced(self, alternative: Alternative) -> dict[str, object]:
        """What differs for another CPU."""
        fields = alternative.model_dump(exclude={"encoder_file"})
        if self.encoder is not None:
            fields["encoder"] = self.encoder.model_copy(update={"file": alternative.encoder_file})
        return fields

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
    def _check_library(self) -> Self:
        if self.backend in PLANNED:
            if not self.weights or self.weights == self.file or not self.functions:
                raise ValueError(f"a program of the backend {self.backend} names a file of weights and functions")
            shapes = [each.shape for each in (*self.inputs.values(), *self.kept)]
            check_dimensions(self.dimensions, shapes, [each.shape for each in self.outputs.values()])
            check_functions(self.functions, self.dimensions)
            if self.encoder is not None:
                shapes = [each.shape for each in self.encoder.inputs.values()]
                check_dimensions(
                    self.encoder.dimensions, shapes, [each.shape for each in self.encoder.outputs.values()]
                )
        elif self.weights or self.functions or self.dimensions or (self.encoder and self.encoder.dimensions):
            raise ValueError(f"only a program of {' and '.join(PLANNED)} names weights, functions and dimensions")
        return self

    @model_validator(mode="after")
    def _check_alternatives(self) -> Self:
        if not self.alternatives:
            return self
        if self.backend != "tvm":
            raise ValueError("only a program of the backend tvm has alternatives")
        for each in self.alternatives:
            if (each.encoder_file is None) != (self.encoder is None):
                raise ValueError(f"{each.target} must have an encoder_file exactly where the program has an encoder")
        if len(set(self.files)) != len(self.files):
            raise ValueError("two libraries have one file")
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "function":
            if self.kept:
                raise ValueError("a function has no cache and no state")
            if self.encoder is not None:
                raise ValueError("a function has no encoder")
            return self
        own = self._inputs_of_its_own()
        ranks = {name: len(spec.shape) for name, spec in own.items() if name not in (SAMPLING, SAMPLING_KEY)}
        if ranks != DECODER_INPUT_RANKS or any(own[name].dtype != "int64" for name in ranks):
            expected = ", ".join(f"{name} (rank {rank})" for name, rank in DECODER_INPUT_RANKS.items())
            raise ValueError(f"the inputs of a decoder beside its caches are {expected}, all int64")
        logits = self.outputs.get(LOGITS)
        if logits is None or logits.dtype != "float32" or len(logits.shape) != 3:
            raise ValueError("an output of a decoder is logits, float32 of rank 3")
        self._check_choosing(own, logits)
        for names in ([*self.inputs, *(k.input for k in self.kept)], [*self.outputs, *(k.output for k in self.kept)]):
            if len(set(names)) != len(names):
                raise ValueError("two inputs or two outputs have the same name")
        return self

    def _check_choosing(self, own: dict[str, TensorSpec], logits: TensorSpec) -> None:
        """A decoder that chooses tokens itself has two inputs and two outputs for that, any other none."""
        batch = logits.shape[:1]
        given = {
            SAMPLING: TensorSpec(dtype="float32", shape=(*batch, 4)),
            SAMPLING_KEY: TensorSpec(dtype="int64", shape=(*batch, 2)),
        }
        made = {
            CHOSEN: TensorSpec(dtype="int64", shape=logits.shape[:2]),
            LENGTH_AFTER: TensorSpec(dtype="int64", shape=batch),
        }
        found = (
            {name: spec for name, spec in own.items() if name not in DECODER_INPUT_RANKS},
            {name: spec for name, spec in self.outputs.items() if name != LOGITS},
        )
        if found not in (({}, {}), (given, made)):
            raise ValueError(
                f"a decoder has no inputs and outputs of its own but {', '.join(DECODER_INPUT_RANKS)} and {LOGITS}, or "
                f"also {SAMPLING} (float32 [B, 4]), {SAMPLING_KEY} (int64 [B, 2]), {CHOSEN} (int64 [B, N]) and "
                f"{LENGTH_AFTER} (int64 [B])"
            )

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
