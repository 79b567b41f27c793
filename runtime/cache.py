"""What a program keeps of a batch: KV caches, rings, recurrent states, and how far each row has got."""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from graphwright.runtime.aligned import total_memory
from graphwright.runtime.artifact import CacheSpec, Manifest, StateSpec
from graphwright.runtime.buffers import Buffer
from graphwright.runtime.element_types import ELEMENT_TYPES
from graphwright.runtime.engines import ManagesMemory
from graphwright.runtime.errors import ContextError
from graphwright.runtime.session import Session

Lengths = npt.NDArray[np.int64]


class KVCache:
    """Buffers [batch, heads, capacity, head_size] for every contiguous cache of a program, zeroed, updated in place.

    `lengths` (int64 [batch]) counts the tokens that each row holds; what lies beyond is garbage that the program
    masks and later overwrites. A ring and a recurrent state, whose size does not depend on the capacity, have two
    buffers: a step reads one and writes the other, and `advance` makes that one current, for the rows whose tokens are
    kept. Raises ContextError when the memory, `bytes_for(…)` of
    it, cannot be had.
    """

    def __init__(self, session: Session, batch: int, capacity: int) -> None:
        self.session = session
        self.batch = batch
        self.capacity = capacity
        self.lengths: Lengths = np.zeros(batch, dtype=np.int64)
        self.states: tuple[list[Buffer], list[Buffer]]
        """The current content of rings and states is in the list at `turn`; the next goes to the other list."""
        self.turn = 0
        self._stepped: Lengths | None = None
        program = session.program
        if isinstance(session.engine, ManagesMemory):
            size = self.bytes_for(session.manifest, batch, capacity)
            session.engine.check_room(size, f"a KV cache for {batch} x {capacity} tokens")
        try:
            # What a step reads and writes whole is had at once; of the others the part that tokens fill.
            if 2 * sum(math.prod(_rows(s, batch)) for s in program.alternating) > total_memory():
                raise MemoryError
            self.buffers = [
                Buffer(session.engine, (batch, c.shape[1], capacity, c.shape[3]), c.dtype) for c in program.in_place
            ]
            current, following = (
                [Buffer(session.engine, _rows(s, batch), s.dtype) for s in program.alternating] for _ in range(2)
            )
            self.states = current, following
        except MemoryError:
            size = self.bytes_for(session.manifest, batch, capacity) / 2**30
            raise ContextError(
                f"a KV cache for {batch} x {capacity} tokens needs {size:.1f} GiB, more than this machine has left; "
                "use a smaller max_context or batch"
            ) from None

    @staticmethod
    def bytes_for(manifest: Manifest, batch: int, capacity: int) -> int:
        """Bytes that caches, rings and states of `batch` rows of `capacity` tokens take when full."""
        program = manifest.program
        per_token = sum(c.shape[1] * c.shape[3] * ELEMENT_TYPES[c.dtype].storage.itemsize for c in program.in_place)
        state = sum(math.prod(_rows(s, 1)) * ELEMENT_TYPES[s.dtype].storage.itemsize for s in program.alternating)
        return (per_token * capacity + 2 * state) * batch

    @property
    def alternates(self) -> bool:
        """Whether rows have rings or states, which a step does not update in place."""
        return bool(self.states[0])

    def check_room(self, new_tokens: int) -> None:
        """Raise ContextError unless every row can take `new_tokens` positions, padding included."""
        longest = int(self.lengths.max())
        if longest + new_tokens > self.capacity:
            raise ContextError(
                f"{longest} cached and {new_tokens} new tokens exceed the context of {self.capacity} tokens; "
                "use a larger max_context or a shorter prompt"
            )

    def stepped(self, new_tokens: Lengths) -> None:
        """Note that a step has written `new_tokens` (int64 [batch]) to each row, none of which count yet."""
        if self.alternates:
            self._stepped = new_tokens.copy()

    def advance(self, new_tokens: Lengths) -> None:
        """Count the `new_tokens` (int64 [batch]) that a step has just written to each row.

        Where rows have rings or states, a row keeps all tokens of its step or none. Raises ContextError.
        """
        if self.alternates:
            stepped = np.zeros_like(self.lengths) if self._stepped is None else self._stepped
            if not ((new_tokens == stepped) | (new_tokens == 0)).all():
                raise ContextError(
                    f"rows took {stepped.tolist()} new tokens and cannot keep {new_tokens.tolist()} of them: "
                    f"{self._kind} holds all tokens of a step or none"
                )
            left = np.flatnonzero(new_tokens == 0).tolist()
            if len(left) < self.batch:
                for old, new in zip(self.states[self.turn], self.states[1 - self.turn], strict=True):
                    if left:
                        new.copy_rows(old, left)
                self.turn = 1 - self.turn
            self._stepped = None
        self.lengths += new_tokens

    def can_rewind(self, tokens: int) -> bool:
        """Whether every row can forget its last `tokens`.

        With a recurrent state only none, or all; with a ring also any of a row that it still holds whole.
        """
        return bool(self._forgettable(np.full_like(self.lengths, tokens)).all())

    def _forgettable(self, counts: Lengths) -> npt.NDArray[np.bool_]:
        program = self.session.program
        partly = self.lengths <= min((_places(c) for c in program.rings), default=self.capacity)
        return (counts == 0) | (counts == self.lengths) | (partly if not program.states else False)

    def rewind(self, tokens: int | Sequence[int]) -> None:
        """Forget the last `tokens` of every row, or of each row its own number. Raises ContextError."""
        counts = np.broadcast_to(np.asarray(tokens, dtype=np.int64), self.lengths.shape)
        if (counts < 0).any() or (counts > self.lengths).any():
            raise ContextError(f"cannot rewind {counts.tolist()} tokens of rows that hold {self.lengths.tolist()}")
        if not self._forgettable(counts).all():
            raise ContextError(
                f"cannot rewind {counts.tolist()} of {self.lengths.tolist()} tokens: the model has {self._kind}, "
                "which can only be emptied; rewind to the start and feed the tokens again"
            )
        for state in self.states[self.turn]:
            state.clear_rows(np.flatnonzero(counts == self.lengths).tolist())
        self.lengths -= counts

    @property
    def _kind(self) -> str:
        return "a recurrent state" if self.session.program.states else "a ring that has overwritten tokens"

    def fork(self) -> Self:
        """An independent cache with the same content and capacity."""
        twin = type(self)(self.session, self.batch, self.capacity)
        used = int(self.lengths.max())
        for copy, original in zip(twin.buffers, self.buffers, strict=True):
            copy.copy_from(original, used)
        for copy, original in zip(twin.states[twin.turn], self.states[self.turn], strict=True):
            copy.copy_rows(original, range(self.batch))
        twin.lengths[:] = self.lengths
        return twin


def _rows(spec: CacheSpec | StateSpec, batch: int) -> tuple[int, ...]:
    return tuple(batch if isinstance(size, str) else size for size in spec.shape)


def _places(ring: CacheSpec) -> int:
    places = ring.shape[2]
    assert isinstance(places, int), "the manifest of a ring is checked to say so"
    return places
