"""The program that runs once a prompt, before the decoder."""

from typing import Self

from pydantic import model_validator

from graphwright.runtime.artifact.convention import CONTEXT_LENGTH
from graphwright.runtime.artifact.strict import Strict
from graphwright.runtime.artifact.tensors import TensorSpec


class EncoderSpec(Strict):
    """The program, in a file of its own, that runs once a prompt: a context in, what the decoder reads of it out.

    Its inputs are the context ["batch", …] and, where a size of that is dynamic, `CONTEXT_LENGTH`. `dimensions` are, of
    the backend `tvm`, as those of the program.
    """

    file: str
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    dimensions: tuple[str, ...] = ()

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
