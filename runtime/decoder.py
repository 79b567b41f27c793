"""Running a decoder program over a cache, one step at a time."""

from typing import Any

import numpy as np
import numpy.typing as npt

from graphwright.runtime.aligned import aligned_empty
from graphwright.runtime.artifact.convention import (
    INPUT_IDS,
    LIKELIEST,
    LOGIT_POSITIONS,
    LOGITS,
    NEW_LENGTH,
    PAST_LENGTH,
)
from graphwright.runtime.cache import KVCache
from graphwright.runtime.encoder import EncodedContext, check_context
from graphwright.runtime.engines.engine import ManagesMemory
from graphwright.runtime.errors import ContextError

Ids = npt.NDArray[np.int64]


class Decoder:
    """A decoder program bound to one cache; not for use by two threads at once.

    The cache is bound once, and rings and recurrent states in both directions between their two buffers, each of
    which is a call of its own. Inputs and logits live in arrays that are bound again only when their shape changes,
    so that a decode step costs four small copies and one call.

    Where the program reads a context, `context` is what its encoder made of that, bound once too. Raises
    GenerationError where it is missing, or has another number of rows than the cache.
    """

    def __init__(self, cache: KVCache, context: EncodedContext | None = None) -> None:
        self.cache = cache
        self._session = cache.session
        self._engine = self._session.engine
        self._calls = self._session.executable.calls(2 if cache.alternates else 1)
        self._inputs: dict[str, npt.NDArray[np.int64]] = {}
        self._logits: npt.NDArray[np.float32] = np.empty((0, 0, 0), dtype=np.float32)
        self._likeliest: Ids = np.empty((0, 0), dtype=np.int64)
        self._kept: tuple[int, ...] | None = None
        """The shape of logits that stay on the device, None where they go to the host."""
        # Holds the memory that bound values view.
        self._context = context
        check_context(self._session.program, cache.batch, context)
        for turn, call in enumerate(self._calls):
            if context is not None:
                for name, value in context.values.items():
                    call.give(name, value)
            for spec, buffer in zip(self._session.program.in_place, cache.buffers, strict=True):
                call.give(spec.input, buffer.value)
                call.take(spec.output, buffer.value)
            following = cache.states[1 - turn]
            for spec, old, new in zip(self._session.program.alternating, cache.states[turn], following, strict=True):
                call.give(spec.input, old.value)
                call.take(spec.output, new.value)

    def step(self, input_ids: Ids, new_length: Ids, logit_positions: Ids) -> npt.NDArray[np.float32]:
        """Write the keys and values of `input_ids` to the cache and return logits, float32 [B, N, V].

        `input_ids` (int64 [B, S]) is right-padded; `new_length` (int64 [B], in 1..S) tells how much of each row is
        real; `logit_positions` (int64 [B, N], in 0..S-1) which positions want logits. The cache's lengths are not
        advanced: the caller says which rows to keep. The result is overwritten by the next step. Raises ContextError
        before any work when the padded step does not fit, SessionError when the program fails.
        """
        logits = self._result((*logit_positions.shape, self._session.vocabulary_size))
        self._run(input_ids, new_length, logit_positions)
        return logits

    @property
    def chooses(self) -> bool:
        """Whether the program tells the likeliest tokens, so that logits may stay on the device."""
        return LIKELIEST in self._session.program.outputs and isinstance(self._engine, ManagesMemory)

    def choose(self, input_ids: Ids, new_length: Ids, logit_positions: Ids) -> Ids:
        """`step` that returns the likeliest tokens, int64 [B, N], -1 where the largest of the logits is not finite."""
        shape = (*logit_positions.shape, self._session.vocabulary_size)
        assert isinstance(self._engine, ManagesMemory), "see `chooses`"
        if self._kept != shape:
            self._kept, self._logits = shape, np.empty((0, 0, 0), dtype=np.float32)
            unread = self._engine.zeros(shape, "float32")
            for call in self._calls:
                call.take(LOGITS, unread)
        self._run(input_ids, new_length, logit_positions)
        return self._likeliest

    def _run(self, input_ids: Ids, new_length: Ids, logit_positions: Ids) -> None:
        self.cache.check_room(input_ids.shape[1])
        self._feed(INPUT_IDS, input_ids)
        self._feed(PAST_LENGTH, self.cache.lengths)
        self._feed(NEW_LENGTH, new_length)
        self._feed(LOGIT_POSITIONS, logit_positions)
        if LIKELIEST in self._session.program.outputs and self._likeliest.shape != logit_positions.shape:
            self._likeliest = self._array(logit_positions.shape, np.int64)
            value = self._engine.view(self._likeliest, "int64")
            for call in self._calls:
                call.take(LIKELIEST, value)
        self._calls[self.cache.turn].run()
        self.cache.stepped(new_length)

    def _feed(self, name: str, values: Ids) -> None:
        bound = self._inputs.get(name)
        if bound is not None and bound.shape == values.shape and self._engine.on_host:
            np.copyto(bound, values)
            return
        # Elsewhere than on the CPU, binding is what copies the array to the device.
        bound = self._inputs[name] = self._array(values.shape, np.int64)
        np.copyto(bound, values)
        value = self._engine.view(bound, "int64")
        for call in self._calls:
            call.give(name, value)

    @staticmethod
    def _array(shape: tuple[int, ...], storage: npt.DTypeLike) -> npt.NDArray[Any]:
        try:
            return aligned_empty(shape, storage)
        except MemoryError:
            raise ContextError(
                f"a step of {' x '.join(map(str, shape))} numbers needs more memory than this machine has; "
                "use a shorter prompt or a smaller batch"
            ) from None

    def _result(self, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
        if self._logits.shape != shape:
            self._kept = None
            self._logits = self._array(shape, np.float32)
            value = self._engine.view(self._logits, "float32")
            for call in self._calls:
                call.take(LOGITS, value)
        return self._logits
