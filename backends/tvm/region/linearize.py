"""A Relax function whose work is all in TensorIR, as a schedule: which kernel runs on which places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphwright.backends.tvm.emit.function import Emitted
from graphwright.backends.tvm.emit.memory import IN_PLACE, VIEWS, origin
from graphwright.backends.tvm.region.code import is_buffer, key, substitute
from graphwright.backends.tvm.region.constants import constant_name, is_constant
from graphwright.backends.tvm.region.schedule import Given, KernelCall, Place, Schedule, Stored, Temporary
from graphwright.backends.tvm.region.stages import Kernel
from graphwright.backends.tvm.tvm_library import relax, tirx, tvm
from graphwright.ir.errors import UnsupportedError


@dataclass(frozen=True)
class Tensor:
    """What a variable holds: a place, and TVM's type of the tensor there."""

    place: Place
    type: Any


Held = Tensor | tuple[Tensor, ...]


class Linearizer:
    """Walks one function. `offsets` say where weights lie, by name; `kernels` are the module's, by name."""

    def __init__(
        self, emitted: Emitted, function: Any, kernels: Mapping[str, Kernel], offsets: Mapping[str, int]
    ) -> None:
        self.emitted, self.function, self.kernels, self.offsets = emitted, function, kernels, offsets
        self.held: dict[int, Held] = {}
        self.bindings = [binding for block in function.body.blocks for binding in block.bindings]
        given = function.params[: len(emitted.inputs)]
        self.inputs = [Given(n, p.ty) for n, p in zip(emitted.inputs, given, strict=True)]
        for parameter, place in zip(given, self.inputs, strict=True):
            self.held[key(parameter)] = Tensor(place, parameter.ty)
        for parameter, name in zip(function.params[len(given) :], emitted.weights, strict=True):
            self.held[key(parameter)] = Tensor(Stored(offsets[name]), parameter.ty)
        self.outputs = self._outputs()

    def schedule(self, dimensions: Sequence[str]) -> Schedule:
        """The calls in order; outputs are written where the caller wants them.

        `dimensions` are those of the library.
        """
        calls: list[KernelCall] = []
        for binding in self.bindings:
            call = self._run(binding.var, binding.value)
            if call is not None:
                calls.append(call)
        parameters = (*self.inputs, *self.outputs.values())
        named = {name: self.emitted.symbols.get(name, tirx.Var(name, "int64")) for name in dimensions}
        return Schedule(self.emitted.name, parameters, named, calls)

    def _outputs(self) -> dict[int, Given]:
        """The places of results, by the variable that holds each."""
        values = {key(b.var): b.value for b in self.bindings}
        body = self.function.body.body
        results = values.get(key(body), body) if isinstance(body, tvm.ir.Var) else body
        found: dict[int, Given] = {}
        for name, result in zip(self.emitted.outputs, results.fields, strict=True):
            found[key(origin(result, lambda variable: values.get(key(variable))))] = Given(name, result.ty)
        return found

    def _run(self, variable: Any, value: Any) -> KernelCall | None:
        if is_constant(value):
            self.held[key(variable)] = self._tensor(value)
        elif isinstance(value, tvm.ir.Var):
            self.held[key(variable)] = self.held[key(value)]
        elif isinstance(value, tvm.ir.TupleGetItem):
            held = self.held[key(value.tuple_value)]
            assert isinstance(held, tuple)
            self.held[key(variable)] = held[value.index]
        elif isinstance(value, tvm.ir.Tuple):
            self.held[key(variable)] = tuple(self._tensor(field) for field in value.fields)
        elif isinstance(value, relax.Call) and value.op.name in VIEWS:
            self.held[key(variable)] = Tensor(self._tensor(value.args[0]).place, variable.ty)
        elif isinstance(value, relax.Call) and value.op.name in ("relax.call_tir", IN_PLACE):
            return self._call(variable, value)
        else:
            name = value.op.name if isinstance(value, relax.Call) else type(value).__name__
            raise UnsupportedError(f"the TVM backend cannot run {name}")
        return None

    def _call(self, variable: Any, call: Any) -> KernelCall:
        kernel = self.kernels[str(call.args[0].name_hint)]
        arguments = list(call.args[1].fields)
        (out,) = call.ty_args
        several = isinstance(out, tvm.ir.TupleType)
        types = list(out.fields) if several else [out]
        reused = list(call.attrs.inplace_indices) if call.op.name == IN_PLACE else [-1] * len(types)
        results: list[Tensor] = []
        for type, index in zip(types, reused, strict=True):
            place = self._tensor(arguments[index]).place if index >= 0 else self._new(variable, type)
            results.append(Tensor(place, type))
        fresh = [result for result, index in zip(results, reused, strict=True) if index < 0]
        self.held[key(variable)] = tuple(results) if several else results[0]
        return self._bound(kernel, [*arguments, *fresh])

    def _new(self, variable: Any, type: Any) -> Place:
        output = self.outputs.get(key(variable))
        return Temporary(size_of(type)) if output is None else output

    def _tensor(self, argument: Any) -> Tensor:
        if is_constant(argument):
            return Tensor(Stored(self.offsets[constant_name(argument)]), argument.ty)
        held = self.held[key(argument)]
        assert isinstance(held, Tensor), f"{argument} is a tuple"
        return held

    def _bound(self, kernel: Kernel, arguments: Sequence[Any]) -> KernelCall:
        """The call, with what the kernel's variables stand for read off the shapes, where they are no arguments."""
        places: dict[int, Place] = {}
        sizes: dict[int, Any] = {}
        for parameter, given in zip(kernel.parameters, arguments, strict=True):
            if not is_buffer(parameter):
                sizes[key(parameter)] = given
                continue
            argument = given if isinstance(given, Tensor) else self._tensor(given)
            places[key(parameter)] = argument.place
            for dimension, size in zip(parameter.shape, argument.type.shape.values, strict=True):
                if isinstance(dimension, tvm.ir.Var):
                    sizes.setdefault(key(dimension), size)
        for buffer in kernel.scratch:
            places[key(buffer)] = Temporary(size_of(buffer.ty, sizes))
        return KernelCall(kernel, places, sizes)


def size_of(type: Any, values: Mapping[int, Any] | None = None) -> Any:
    """Bytes of a tensor of that type, its variables replaced by values."""
    shape = list(type.shape.values) if isinstance(type, relax.TensorType) else list(type.shape)
    total: Any = tirx.IntImm("int64", max(1, tvm.DataType(str(type.dtype)).bits // 8))
    for size in shape:
        total = total * tirx.Cast("int64", size)
    return total if values is None else substitute(total, dict(values))
