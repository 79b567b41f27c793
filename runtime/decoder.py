"""Running a decoder program over a cache, one step at a time."""

import numpy as np
import numpy.typing as npt

from graphwright.runtime.cache import KVCache
from graphwright.runtime.encoder import EncodedContext, check_context
from graphwright.runtime.errors import SessionError

Ids = npt.NDArray[np.int64]


class Decoder:
    """A decoder program bound to one cache; not for use by two threads at once.

    The cache is bound once, and rings and recurrent states in both directions between their two buffers, each of
    which is a binding of its own. Inputs and logits live in arrays that are bound again only when their shape changes,
    so that a decode step costs four small copies and one call.

    Where the program reads a context, `context` is what its encoder made of that, bound once too. Raises
    GenerationError where it is missing, or has another number of rows than the cache.
    """

    def __init__(self, cache: KVCache, context: EncodedContext | None = None) -> None:
        self.cache = cache
        self._session = cache.session
        self._bindings = [self._session.inference.io_binding() for _ in range(2 if cache.alternates else 1)]
        self._inputs: dict[str, npt.NDArray[np.int64]] = {}
        self._logits: npt.NDArray[np.float32] = np.empty((0, 0, 0), dtype=np.float32)
        # Holds the memory that bound values view.
        self._context = context
        check_context(self._session.program, cache.batch, context)
        for turn, binding in enumerate(self._bindings):
            if context is not None:
                for name, value in context.values.items():
                    binding.bind_ortvalue_input(name, value)
            for spec, buffer in zip(self._session.program.in_place, cache.buffers, strict=True):
                binding.bind_ortvalue_input(spec.input, buffer.value)
                binding.bind_ortvalue_output(spec.output, buffer.value)
            following = cache.states[1 - turn]
            for spec, old, new in zip(self._session.program.alternating, cache.states[turn], following, strict=True):
                binding.bind_ortvalue_input(spec.input, old.value)
                binding.bind_ortvalue_output(spec.output, new.value)

    def step(self, input_ids: Ids, new_length: Ids, logit_positions: Ids) -> npt.NDArray[np.float32]:
        """Write the keys and values of `input_ids` to the cache and return logits, float32 [B, N, V].

        `input_ids` (int64 [B, S]) is right-padded; `new_length` (int64 [B], in 1..S) tells how much of each row is
        real; `logit_positions` (int64 [B, N], in 0..S-1) which positions want logits. The cache's lengths are not
        advanced: the caller says which rows to keep. The result is overwritten by the next step. Raises ContextError
        before any work when the padded step does not fit, SessionError when the program fails.
        """
        self.cache.check_room(input_ids.shape[1])
        self._feed("input_ids", input_ids)
        self._feed("past_length", self.cache.lengths)
        self._feed("new_length", new_length)
        self._feed("logit_positions", logit_positions)
        logits = self._result((*logit_positions.shape, self._session.vocabulary_size))
        try:
            self._session.inference.run_with_iobinding(self._bindings[self.cache.turn])
        except Exception as error:  # the library's exception types have no public common base
            raise SessionError(f"{self._session.program.file}: the program failed: {error}") from None
        self.cache.stepped(new_length)
        return logits

    def _feed(self, name: str, values: Ids) -> None:
        bound = self._inputs.get(name)
        if bound is not None and bound.shape == values.shape and self._session.device == "cpu":
            np.copyto(bound, values)
            return
        # Elsewhere than on the CPU, binding is what copies the array to the device.
        self._inputs[name] = np.array(values, dtype=np.int64, order="C")
        value = self._session.view(self._inputs[name], "int64")
        for binding in self._bindings:
            binding.bind_ortvalue_input(name, value)

    def _result(self, shape: tuple[int, int, int]) -> npt.NDArray[np.float32]:
        if self._logits.shape != shape:
            self._logits = np.empty(shape, dtype=np.float32)
            value = self._session.view(self._logits, "float32")
            for binding in self._bindings:
                binding.bind_ortvalue_output("logits", value)
        return self._logits
