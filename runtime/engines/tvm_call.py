"""A call of a library's function: the arguments in its order, the function for their sizes, and its workspace."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphwright.runtime.aligned import aligned_zeros
from graphwright.runtime.artifact import FunctionSpec
from graphwright.runtime.element_types import ElementTypeName
from graphwright.runtime.engines.engine import Array, Signature, Value
from graphwright.runtime.engines.tvm_threads import Threads
from graphwright.runtime.errors import SessionError
from graphwright.runtime.tvm_api import PackedFunction, Tensor

KEPT = 1 << 24
"""Bytes of workspace that stay though a call needs less, so that calls of few and of some more tokens may alternate."""


@dataclass(frozen=True)
class TvmValue:
    """An array and the tensor over its memory."""

    array: Array
    tensor: Tensor

    def numpy(self) -> Array:
        return self.array

    def update_inplace(self, data: Any) -> None:
        self.array[...] = data.array if isinstance(data, TvmValue) else data


@dataclass(frozen=True)
class CompiledFunction:
    """`workspace(sizes…)` tells the bytes of workspace that `run` needs in a call of those sizes."""

    spec: FunctionSpec
    run: PackedFunction
    workspace: PackedFunction


class Workspace:
    """Memory for the duration of a call, zeroed when it is new (its beginning holds the counters of barriers)."""

    def __init__(self, view: Callable[[npt.NDArray[Any], ElementTypeName], TvmValue]) -> None:
        self._view = view
        self._value: TvmValue | None = None

    def of_size(self, size: int) -> Tensor:
        """At least `size` bytes."""
        held = -1 if self._value is None else self._value.array.size
        if self._value is None or held < size or held > max(4 * size, KEPT):
            self._value = None  # before the new one is made, so that there is room
            self._value = self._view(aligned_zeros((size,), np.uint8), "uint8")
        return self._value.tensor


class TvmCall:
    """Arguments of one function of a library, chosen anew when a shape may have changed."""

    def __init__(
        self,
        signature: Signature,
        functions: Sequence[CompiledFunction],
        workspace: Workspace,
        weights: TvmValue,
        threads: Threads,
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
        self._values: list[TvmValue | None] = [None] * (len(self._inputs) + len(self._outputs))
        # What is updated in place is one argument.
        self._outputs |= {spec.output: self._inputs[spec.input] for spec in signature.in_place}
        self._arguments: list[Any] = [*self._values, weights.tensor, None, threads.count]
        self._function: CompiledFunction | None = None

    def give(self, name: str, value: Value) -> None:
        self._place(self._inputs[name], value)

    def take(self, name: str, value: Value) -> None:
        self._place(self._outputs[name], value)

    def _place(self, place: int, value: Value) -> None:
        assert isinstance(value, TvmValue), "a value of this engine"
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
            self._threads.run(function.run, self._arguments)
        except MemoryError:
            raise SessionError(
                f"{self._signature.file}: this machine has no memory left for a step of these sizes; "
                "use a shorter prompt or a smaller batch"
            ) from None
        except SessionError:
            raise
        except Exception as error:  # the library's exception types have no public common base
            raise SessionError(f"{self._signature.file}: the program failed: {error}") from None

    def _choose(self) -> CompiledFunction:
        sizes = self.sizes()
        function = next(each for each in self._functions if each.spec.takes(sizes))
        size = function.workspace(*(sizes[name] for name in self._signature.dimensions))
        self._arguments[-2] = self._workspace.of_size(size)
        self._function = function
        return function
