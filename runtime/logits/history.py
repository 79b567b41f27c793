"""The tokens of a row so far, and what a logits processor is."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

Logits = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

_ROOM = 64


class History:
    """Prompt and continuation of one row, as one array that grows."""

    def __init__(self, prompt: Sequence[int]) -> None:
        self.prompt_length = len(prompt)
        self._length = len(prompt)
        self._buffer = np.empty(len(prompt) + _ROOM, dtype=np.int64)
        self._buffer[: len(prompt)] = prompt

    def append(self, token: int) -> None:
        if self._length == self._buffer.size:
            self._buffer = np.concatenate((self._buffer, np.empty_like(self._buffer)))
        self._buffer[self._length] = token
        self._length += 1

    def __len__(self) -> int:
        """How many tokens there are, the prompt's included."""
        return self._length

    @property
    def tokens(self) -> Ids:
        """All of them, int64 [n]."""
        return self._buffer[: self._length]

    @property
    def new_tokens(self) -> Ids:
        """Those of the continuation, int64 [n]."""
        return self._buffer[self.prompt_length : self._length]


class LogitsProcessor(Protocol):
    """Changes `logits` (float32 [V]) of the next token in place, knowing the tokens before it."""

    def __call__(self, logits: Logits, history: History) -> None: ...
