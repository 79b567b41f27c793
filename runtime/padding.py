"""Batches that a caller has padded, as tokenizers of other libraries give them, brought to rows of real tokens."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphwright.runtime.errors import GenerationError

Rows = Sequence[Sequence[int]] | npt.NDArray[Any]


def unpad(token_ids: Rows, attention_mask: Rows) -> list[list[int]]:
    """The real tokens of each row of a batch padded on the left or on the right: prompts as `generate` takes them.

    Both are [batch, sequence], lists or arrays; the mask is 1 where a token is real. Every row starts at position 0
    then, so that left and right padding mean the same. Raises GenerationError where shapes differ, where a row has no
    token, or where padding stands between tokens.
    """
    ids, mask = _array(token_ids, "token_ids"), _array(attention_mask, "attention_mask")
    if ids.shape != mask.shape:
        raise GenerationError(f"attention_mask has shape {list(mask.shape)}, token_ids have {list(ids.shape)}")
    if not np.isin(mask, (0, 1)).all():
        raise GenerationError("attention_mask holds other numbers than 0 and 1")
    rows: list[list[int]] = []
    for number, (row, real) in enumerate(zip(ids, mask.astype(bool), strict=True)):
        places = np.flatnonzero(real)
        if not len(places):
            raise GenerationError(f"row {number} has no token: its attention_mask is all 0")
        if len(places) != places[-1] - places[0] + 1:
            raise GenerationError(
                f"row {number} has padding between its tokens; it can stand before or after them only"
            )
        rows.append(row[real].tolist())
    return rows


def _array(values: Any, name: str) -> "np.ndarray[Any, Any]":
    try:
        array = np.asarray(values)
    except ValueError:
        raise GenerationError(f"{name} has rows of different lengths; a padded batch has none") from None
    if array.ndim != 2 or array.dtype.kind not in "iub":
        raise GenerationError(f"{name} must be integers [batch, sequence]; it has {array.ndim} axes of {array.dtype}")
    return array
