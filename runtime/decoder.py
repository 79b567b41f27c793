"""Running a decoder program over a cache, one step at a time."""

import numpy as np
import numpy.typing as npt

from graphwright.runtime.artifact.convention import (
    CHOSEN,
    INPUT_IDS,
    LOGIT_POSITIONS,
    LOGITS,
    NEW_LENGTH,
    PAST_LENGTH,
    SAMPLING,
    SAMPLING_KEY,
)
from graphwright.runtime.cache import KVCache
from graphwright.runtime.encoder import EncodedContext, check_context
from graphwright.runtime.engines.engine import Array, ManagesMemory
from graphwright.runtime.step_inputs import DeviceInputs, HostInputs, Ids, host_array


class Decoder:
    """A decoder program bound to one cache; not for use by two threads at once.

    The cache is bound once, and rings and recurrent states in both directions between their two buffers, each of
    which is a call of its own. Inputs and logits live in arrays that are bound again only when their shape changes,
    so that a decode step costs four small copies and one call: fewer where the device goes on with its own tokens, see
    `DeviceInputs`.

    Where the program reads a context, `context` is what its encoder made of that, bound once too. Raises
    GenerationError where it is missing, or has another number of rows than the cache.
    """

    def __init__(self, cache: KVCache, context: EncodedContext | None = None) -> None:
        self.cache = cache
        self._session = cache.session
        self._engine = self._session.engine
        self._calls = self._session.executable.calls(2 if cache.alternates else 1)
        self.chooses = CHOSEN in self._session.program.outputs
        """Whether the program chooses tokens itself, so that logits may stay on the device."""
        if isinstance(self._engine, ManagesMemory):
            self._inputs = DeviceInputs(self._engine, self._calls, cache.batch, chooses=self.chooses)
        else:
            assert not self.chooses, "a program that chooses tokens runs on a device with memory of its own"
            self._inputs = HostInputs(self._engine, self._calls)
        self.greedy: tuple[npt.NDArray[np.float32], npt.NDArray[np.uint64]]
        """By what `choose` takes the likeliest tokens."""
        self.greedy = np.zeros((cache.batch, 4), np.float32), np.zeros((cache.batch, 2), np.uint64)
        self._logits: npt.NDArray[np.float32] = np.empty((0, 0, 0), dtype=np.float32)
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
        self._run(input_ids, new_length, logit_positions, *self.greedy)
        return logits

    def choose(
        self,
        input_ids: Ids,
        new_length: Ids,
        logit_positions: Ids,
        sampling: npt.NDArray[np.float32],
        keys: npt.NDArray[np.uint64],
    ) -> Ids:
        """`step` that returns the tokens that the program chooses, int64 [B, N]; only where it `chooses`.

        A token is -1 where the largest of the logits is not finite. `sampling` (float32 [B, 4]) and `keys` (uint64
        [B, 2]) are those of each row's `Sampler`.
        """
        shape = (*logit_positions.shape, self._session.vocabulary_size)
        assert isinstance(self._engine, ManagesMemory), "see `chooses`"
        assert isinstance(self._inputs, DeviceInputs), "see `chooses`"
        if self._kept != shape:
            self._kept, self._logits = shape, np.empty((0, 0, 0), dtype=np.float32)
            unread = self._engine.zeros(shape, "float32", LOGITS)
            for call in self._calls:
                call.take(LOGITS, unread)
        self._run(input_ids, new_length, logit_positions, sampling, keys)
        return self._inputs.chosen()

    def _run(
        self,
        input_ids: Ids,
        new_length: Ids,
        logit_positions: Ids,
        sampling: npt.NDArray[np.float32],
        keys: npt.NDArray[np.uint64],
    ) -> None:
        self.cache.check_room(input_ids.shape[1])
        inputs, lengths = self._inputs, self.cache.lengths
        given: dict[str, Array] = {}
        given |= {INPUT_IDS: input_ids, PAST_LENGTH: lengths, NEW_LENGTH: new_length, LOGIT_POSITIONS: logit_positions}
        if self.chooses:
            given |= {SAMPLING: sampling, SAMPLING_KEY: keys.view(np.int64)}
        for name, values in given.items():
            inputs.feed(name, values)
        if isinstance(inputs, DeviceInputs):
            inputs.wants(logit_positions.shape)
        self._calls[self.cache.turn].run()
        if isinstance(inputs, DeviceInputs):
            inputs.stepped(lengths + new_length)
        self.cache.stepped(new_length)

    def _result(self, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
        if self._logits.shape != shape:
            self._kept = None
            self._logits = host_array(shape, np.float32)
            value = self._engine.view(self._logits, "float32")
            for call in self._calls:
                call.take(LOGITS, value)
        return self._logits
