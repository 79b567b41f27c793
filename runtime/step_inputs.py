"""The small arrays that a step reads beside its caches: on the host, or on a device that goes on with its own."""

from collections.abc import Sequence
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from graphwright.runtime.aligned import aligned_empty
from graphwright.runtime.artifact.convention import CHOSEN, INPUT_IDS, LENGTH_AFTER, PAST_LENGTH
from graphwright.runtime.element_types import ElementTypeName
from graphwright.runtime.engines.engine import Array, Call, Engine, ManagesMemory, Value
from graphwright.runtime.errors import ContextError

Ids = npt.NDArray[np.int64]


class StepInputs(Protocol):
    """Inputs of a decoder's calls."""

    def feed(self, name: str, values: Array) -> None:
        """Lets the next step read `values`."""
        ...


class HostInputs:
    """Arrays of the host's that an engine reads where they lie, or copies when they are bound."""

    def __init__(self, engine: Engine, calls: Sequence[Call]) -> None:
        self._engine, self._calls = engine, calls
        self._arrays: dict[str, Array] = {}

    def feed(self, name: str, values: Array) -> None:
        bound = self._arrays.get(name)
        if bound is not None and bound.shape == values.shape and self._engine.on_host:
            np.copyto(bound, values)
            return
        # Elsewhere than on the CPU, binding is what copies the array to the device.
        bound = self._arrays[name] = host_array(values.shape, values.dtype)
        np.copyto(bound, values)
        value = self._engine.view(bound, _element_type(values))
        for call in self._calls:
            call.give(name, value)


class _DeviceArray:
    """A tensor on the device, and its content as far as the host knows it."""

    def __init__(self, engine: ManagesMemory, shape: tuple[int, ...], dtype: ElementTypeName, name: str) -> None:
        self.shape = shape
        self.value: Value = engine.zeros(shape, dtype, name)
        self.known: Array | None = None


class DeviceInputs:
    """Tensors on the device, which are sent only where the device does not hold their content yet.

    A step writes the tokens that it chooses, one a row, where the next one reads its tokens, and the lengths behind it
    where that reads the lengths before it: so a step that goes on with what the last one chose is sent nothing.
    """

    def __init__(self, engine: ManagesMemory, calls: Sequence[Call], batch: int, *, chooses: bool) -> None:
        self._engine, self._calls = engine, calls
        self._tokens = _DeviceArray(engine, (batch, 1), "int64", "tokens")
        self._lengths = _DeviceArray(engine, (batch,), "int64", "lengths")
        self._given: dict[str, _DeviceArray] = {}
        self._chosen = self._tokens
        self._chooses = chooses
        if chooses:
            self._take(CHOSEN, self._tokens)
            self._take(LENGTH_AFTER, self._lengths)

    def feed(self, name: str, values: Array) -> None:
        array = self._array(name, values)
        if self._given.get(name) is not array:
            self._given[name] = array
            for call in self._calls:
                call.give(name, array.value)
        if array.known is None or not np.array_equal(array.known, values):
            array.value.update_inplace(values)
            array.known = values.copy()

    def _array(self, name: str, values: Array) -> _DeviceArray:
        for own, array in ((INPUT_IDS, self._tokens), (PAST_LENGTH, self._lengths)):
            if (name, values.shape) == (own, array.shape):
                return array
        given = self._given.get(name)
        if given is not None and given.shape == values.shape:
            return given
        return _DeviceArray(self._engine, values.shape, _element_type(values), name)

    def wants(self, shape: tuple[int, ...]) -> None:
        """Says how many tokens the next step chooses: [B, N]. Behind it nobody knows what it wrote."""
        if not self._chooses:
            return
        if self._chosen.shape != shape:
            same = shape == self._tokens.shape
            self._chosen = self._tokens if same else _DeviceArray(self._engine, shape, "int64", CHOSEN)
            self._take(CHOSEN, self._chosen)
        self._chosen.known = self._lengths.known = None

    def stepped(self, lengths: Ids) -> None:
        """Says how many tokens (int64 [B]) the step has left each row with."""
        if self._chooses:
            self._lengths.known = lengths

    def chosen(self) -> Ids:
        """The tokens that the step chose, int64 [B, N]: the one copy from the device that it needs."""
        found = self._chosen.known = self._chosen.value.numpy()
        return found

    def _take(self, name: str, array: _DeviceArray) -> None:
        for call in self._calls:
            call.take(name, array.value)


def host_array(shape: tuple[int, ...], storage: npt.DTypeLike) -> npt.NDArray[Any]:
    """An array that an engine can view. Raises ContextError where there is no memory for it."""
    try:
        return aligned_empty(shape, storage)
    except MemoryError:
        raise ContextError(
            f"a step of {' x '.join(map(str, shape))} numbers needs more memory than this machine has; "
            "use a shorter prompt or a smaller batch"
        ) from None


def _element_type(values: Array) -> ElementTypeName:
    return cast(ElementTypeName, values.dtype.name)
