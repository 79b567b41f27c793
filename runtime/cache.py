"""The KV cache of a batch: its memory and how far each row has got."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from graphwright.runtime.artifact import Manifest
from graphwright.runtime.buffers import Buffer
from graphwright.runtime.element_types import ELEMENT_TYPES
from graphwright.runtime.errors import ContextError
from graphwright.runtime.session import Session

Lengths = npt.NDArray[np.int64]


class KVCache:
    """Buffers [batch, heads, capacity, head_size] for every cache of a program, zeroed, updated in place.

    `lengths` (int64 [batch]) counts the tokens that each row holds; what lies beyond is garbage that the program
    masks and later overwrites. Raises ContextError when the memory, `bytes_for(…)` of it, cannot be had.
    """

    def __init__(self, session: Session, batch: int, capacity: int) -> None:
        self.session = session
        self.batch = batch
        self.capacity = capacity
        self.lengths: Lengths = np.zeros(batch, dtype=np.int64)
        specs = session.program.cache
        try:
            self.buffers = [Buffer(session, (batch, s.shape[1], capacity, s.shape[3]), s.dtype) for s in specs]
        except MemoryError:
            size = self.bytes_for(session.manifest, batch, capacity) / 2**30
            raise ContextError(
                f"a KV cache for {batch} x {capacity} tokens needs {size:.1f} GiB, more than this machine has left; "
                "use a smaller max_context or batch"
            ) from None

    @staticmethod
    def bytes_for(manifest: Manifest, batch: int, capacity: int) -> int:
        """Bytes that the cache of `batch` rows of `capacity` tokens takes when full."""
        caches = manifest.program.cache
        per_token = sum(c.shape[1] * c.shape[3] * ELEMENT_TYPES[c.dtype].storage.itemsize for c in caches)
        return per_token * batch * capacity

    def check_room(self, new_tokens: int) -> None:
        """Raise ContextError unless every row can take `new_tokens` positions, padding included."""
        longest = int(self.lengths.max())
        if longest + new_tokens > self.capacity:
            raise ContextError(
                f"{longest} cached and {new_tokens} new tokens exceed the context of {self.capacity} tokens; "
                "use a larger max_context or a shorter prompt"
            )

    def advance(self, new_tokens: npt.NDArray[np.int64]) -> None:
        """Count the `new_tokens` (int64 [batch]) that a step has just written to each row."""
        self.lengths += new_tokens

    def rewind(self, tokens: int | Sequence[int]) -> None:
        """Forget the last `tokens` of every row, or of each row its own number. Raises ContextError."""
        counts = np.broadcast_to(np.asarray(tokens, dtype=np.int64), self.lengths.shape)
        if (counts < 0).any() or (counts > self.lengths).any():
            raise ContextError(f"cannot rewind {counts.tolist()} tokens of rows that hold {self.lengths.tolist()}")
        self.lengths -= counts

    def fork(self) -> Self:
        """An independent cache with the same content and capacity."""
        twin = type(self)(self.session, self.batch, self.capacity)
        used = int(self.lengths.max())
        for copy, original in zip(twin.buffers, self.buffers, strict=True):
            copy.copy_from(original, used)
        twin.lengths[:] = self.lengths
        return twin
