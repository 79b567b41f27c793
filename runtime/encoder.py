"""Running an encoder: contexts in, once a prompt, and out comes what every step of the decoder reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from graphwright.runtime.artifact import CONTEXT_LENGTH, Program
from graphwright.runtime.element_types import ELEMENT_TYPES
from graphwright.runtime.errors import GenerationError, SessionError
from graphwright.runtime.onnxruntime_api import OrtValue
from graphwright.runtime.session import Session

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class EncodedContext:
    """Inputs of the decoder by name, on the session's device, for `batch` rows.

    `lengths` is the memory that one of them views.
    """

    batch: int
    values: Mapping[str, OrtValue]
    lengths: npt.NDArray[np.int64] | None


def encode(session: Session, contexts: Sequence[Array]) -> EncodedContext:
    """Encode one context a row: token ids [T], or arrays [T, …], are padded on the right to the longest.

    Every array is what the manifest says of the encoder's input without its first dimension. Raises SessionError when
    the program fails.
    """
    spec = session.program.encoder
    assert spec is not None, "the manifest has an encoder"
    assert session.encoder is not None, "the session has started it"
    name, taken = spec.context
    lengths = np.array([len(context) for context in contexts], dtype=np.int64)
    batch = np.stack([_padded(context, int(lengths.max())) for context in contexts])
    lasting = CONTEXT_LENGTH in spec.inputs
    binding = session.encoder.io_binding()
    try:
        binding.bind_ortvalue_input(name, session.view(np.ascontiguousarray(batch), taken.dtype))
        if lasting:
            binding.bind_ortvalue_input(CONTEXT_LENGTH, session.view(lengths, "int64"))
        for output in spec.outputs:
            binding.bind_output(output, session.device)
        session.encoder.run_with_iobinding(binding)
        values = dict(zip(spec.outputs, binding.get_outputs(), strict=True))
    except Exception as error:  # the library's exception types have no public common base
        raise SessionError(f"{spec.file}: the program failed: {error}") from None
    if CONTEXT_LENGTH in session.program.inputs:
        values[CONTEXT_LENGTH] = session.view(lengths, "int64")
    return EncodedContext(len(contexts), values, lengths)


def check_context(program: Program, rows: int, context: EncodedContext | None) -> None:
    """Raise GenerationError unless there is a context of as many rows exactly where the program reads one."""
    if program.encoder is None:
        if context is not None:
            raise GenerationError("the model has no encoder, so it takes no context")
        return
    if context is None:
        raise GenerationError(
            f"the model continues tokens beside a context ({program.encoder.context[0]}); give one: generate, "
            "complete, stream and logits take it"
        )
    if context.batch != rows:
        raise GenerationError(f"there are {context.batch} contexts for {rows} rows of tokens")


def context_array(program: Program, context: object) -> tuple[list[Array], bool]:
    """The rows of a context that is no text, each an array, and whether it was one row without a batch.

    Raises GenerationError for arrays of another type or shape than the manifest's.
    """
    assert program.encoder is not None, "the manifest has an encoder"
    name, spec = program.encoder.context
    shape = spec.shape[1:]
    stored = ELEMENT_TYPES[spec.dtype].storage
    if isinstance(context, (list, tuple)):
        rows, single = [np.asarray(row) for row in cast(Sequence[Any], context)], False
    else:
        whole = np.asarray(context)
        single = whole.ndim != len(spec.shape)
        rows = [whole] if single else list(whole)
    for row in rows:
        fits = row.dtype == stored and row.ndim == len(shape)
        fits = fits and all(
            size > 0 if isinstance(d, str) else size == d for d, size in zip(shape, row.shape, strict=True)
        )
        if not fits:
            expected = ", ".join(map(str, shape))
            raise GenerationError(
                f"a context ({name}) must be {spec.dtype} [{expected}], or a batch of them; this is {row.dtype} "
                f"{list(row.shape)}"
            )
    if not rows:
        raise GenerationError("there are no contexts")
    return rows, single


def _padded(context: Array, length: int) -> Array:
    return np.pad(context, [(0, length - len(context)), *[(0, 0)] * (context.ndim - 1)])
