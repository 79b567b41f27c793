"""A call of a library's function: the arguments in its order, the function for their sizes, and its workspace."""

import ctypes
from collections.abc import Sequence

import numpy as np

from graphwright.runtime.aligned import aligned_empty
from graphwright.runtime.engines.engine import Signature, Value
from graphwright.runtime.engines.native_library import DOES_NOT_FIT, CompiledFunction, NativeValue, Tensor
from graphwright.runtime.errors import SessionError

KEPT = 1 << 24
"""Bytes of workspace that stay though a call needs less, so that calls of few and of some more tokens may alternate."""


class Workspace:
    """Memory for the duration of a call."""

    def __init__(self) -> None:
        self._value: NativeValue | None = None

    def of_size(self, size: int) -> NativeValue:
        """At least `size` bytes."""
        held = -1 if self._value is None else self._value.array.size
        if self._value is None or held < size or held > max(4 * size, KEPT):
            self._value = None  # before the new one is made, so that there is room
            self._value = NativeValue(aligned_empty((size,), np.uint8), "uint8")
        return self._value


class NativeCall:
    """Arguments of one function of a library, chosen anew when a shape may have changed."""

    def __init__(
        self,
        signature: Signature,
        functions: Sequence[CompiledFunction],
        workspace: Workspace,
        weights: NativeValue,
        threads: int,
    ) -> None:
        self._signature = signature
        self._functions = functions
        self._workspace = workspace
        self._threads = threads
        kept = [spec.input for spec in signature.kept]
        following = [spec.output for spec in signature.alternating]
        self._inputs = {name: place for place, name in enumerate((*signature.inputs, *kept))}
        results = enumerate((*following, *signature.outputs), start=len(self._inputs))
        self._outputs = {name: place for place, name in results}
        self._values: list[NativeValue | None] = [None] * (len(self._inputs) + len(self._outputs))
        # What is updated in place is one argument.
        self._outputs |= {spec.output: self._inputs[spec.input] for spec in signature.in_place}
        self._kept: tuple[NativeValue, ...] = (weights,)
        """What C alone refers to: the weights, and the workspace of the last call."""
        self._arguments = (Tensor * (len(self._values) + 2))()
        self._arguments[-2] = weights.tensor
        self._function: CompiledFunction | None = None

    def give(self, name: str, value: Value) -> None:
        self._place(self._inputs[name], value)

    def take(self, name: str, value: Value) -> None:
        self._place(self._outputs[name], value)

    def _place(self, place: int, value: Value) -> None:
        assert isinstance(value, NativeValue), "a value of this engine"
        self._values[place] = value
        self._arguments[place] = value.tensor
        self._function = None

    def sizes(self) -> dict[str, int]:
        """Those of the dynamic dimensions, by name, as the arguments so far tell them."""
        shapes = [*((n, s.shape) for n, s in self._signature.inputs.items())]
        shapes += [(spec.input, spec.shape) for spec in self._signature.kept]
        sizes: dict[str, int] = {}
        for name, shape in shapes:
            value = self._values[self._inputs[name]]
            assert value is not None, f"{name} is given"
            sizes |= {d: size for d, size in zip(shape, value.array.shape, strict=True) if isinstance(d, str)}
        return sizes

    def run(self) -> None:
        try:
            function = self._function or self._choose()
        except MemoryError:
            raise SessionError(
                f"{self._signature.file}: this machine has no memory left for a step of these sizes; "
                "use a shorter prompt or a smaller batch"
            ) from None
        outcome = function.run(self._arguments, self._threads)
        if outcome == DOES_NOT_FIT:
            raise SessionError(
                f"{self._signature.file}: a tensor that {function.spec.name} is given has another type, shape or size "
                "than it takes; compile the model again"
            )
        if outcome != 0:
            raise SessionError(f"{self._signature.file}: {function.spec.name} failed")

    def _choose(self) -> CompiledFunction:
        sizes = self.sizes()
        function = next(each for each in self._functions if each.spec.takes(sizes))
        names = self._signature.dimensions
        size = function.workspace((ctypes.c_int64 * len(names))(*(sizes[name] for name in names)))
        space = self._workspace.of_size(size)
        self._arguments[-1] = space.tensor
        self._kept = (self._kept[0], space)
        self._function = function
        return function
