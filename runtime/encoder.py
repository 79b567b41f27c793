"""Running an encoder: contexts in, once a prompt, and out comes what every step of the decoder reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from graphwright.runtime.aligned import aligned_empty
from graphwright.runtime.artifact import CONTEXT_LENGTH, Program
from graphwright.runtime.element_types import ELEMENT_TYPES
from graphwright.runtime.engines import Array, Value
from graphwright.runtime.errors import GenerationError
from graphwright.runtime.session import Session


@dataclass(frozen=True)
class EncodedContext:
    """Inputs of the decoder by name, on the session's device, for `batch` rows.

    `lengths` (int64 [batch]) is the memory that one of them views.
    """

    batch: int
    values: Mapping[str, Value]
    lengths: Array


def encode(session: Session, contexts: Sequence[Array]) -> EncodedContext:
    """Encode one context a row: token ids [T], or arrays [T, …], are padded on the right to the longest.

    Every array is what the manifest says of the encoder's input without its first dimension. Raises SessionError when
    the program fails.
    """
    spec = session.program.encoder
    assert spec is not None, "the manifest has an encoder"
    assert session.encoder is not None, "the session has started it"
    name, _ = spec.context
    lengths = aligned_empty((len(contexts),), np.int64)
    lengths[:] = [len(context) for context in contexts]
    batch = np.stack([_padded(context, int(lengths.max())) for context in contexts])
    inputs = {name: batch, CONTEXT_LENGTH: lengths} if CONTEXT_LENGTH in spec.inputs else {name: batch}
    values = session.encoder.values(inputs)
    if CONTEXT_LENGTH in session.program.inputs:
        values[CONTEXT_LENGTH] = session.engine.view(lengths, "int64")
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


def context_array(program: Program, context: object, *, fill: bool = False) -> tuple[list[Array], bool]:
    """The rows of a context that is not a text, each an array, and whether it was one row without a batch.

    With `fill` a shorter last axis is filled up with zeros, as silence is in audio. Raises GenerationError for arrays
    of another type or shape than the manifest's.
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
    if fill and isinstance(shape[-1], int):
        rows = [_filled(row, shape[-1]) for row in rows]
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


def _filled(context: Array, length: int) -> Array:
    missing = length - context.shape[-1] if context.ndim else 0
    return np.pad(context, [*[(0, 0)] * (context.ndim - 1), (0, missing)]) if missing > 0 else context


def _padded(context: Array, length: int) -> Array:
    return np.pad(context, [(0, length - len(context)), *[(0, 0)] * (context.ndim - 1)])
