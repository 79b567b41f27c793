"""A graph as a function of a Relax module."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.emit.emitter import Emitter
from graphwright.backends.tvm.emit.memory import origin
from graphwright.backends.tvm.emit.table import EMISSIONS
from graphwright.backends.tvm.tvm_library import relax
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import QuantizedType, StateType, TensorType
from graphwright.ir.weights import Weight

INPUT_ORDER = {None: 0, "contiguous": 1, "ring": 1, "recurrent": 2}
OUTPUT_ORDER = {"ring": 0, "recurrent": 1, None: 2}
"""The order of a step's tensors, by the layout of states: inputs, then caches, then recurrent states; what it writes of
these to another buffer, then outputs."""


@dataclass(frozen=True)
class Emitted:
    """A function of the module.

    Its parameters are the graph's inputs and then weights, its results the outputs that a step writes apart: not the
    caches that it changes in place. `symbols` are the variables of its dimensions.
    """

    name: str
    inputs: tuple[str, ...]
    weights: tuple[str, ...]
    outputs: tuple[str, ...]
    symbols: dict[str, Any]


def emit_function(
    builder: Any, graph: Graph, cpu: Cpu, weights: dict[str, Weight], kernels: dict[object, Any]
) -> Emitted:
    """Adds the graph to the builder's module; weights go to `weights`, kernels to `kernels`, which its graphs share.

    Raises `UnsupportedError`, naming op and module path, for an op that there is no emission for.
    """
    e = Emitter(builder, graph, cpu, weights, kernels)
    given = sorted(graph.inputs, key=lambda v: INPUT_ORDER[_layout(v)])
    inputs = {str(v.name): relax.Var(str(v.name), e.type(plain_type(v))) for v in given}
    written = [(name, v) for name, v in graph.outputs.items() if not is_updated_in_place(v)]
    outputs = dict(sorted(written, key=lambda item: OUTPUT_ORDER[_layout(item[1])]))
    with builder.function(graph.name):
        with builder.dataflow():
            for value in graph.inputs:
                e.bind(value, inputs[str(value.name)])
            for op in graph:
                _emit(e, op)
            results = [builder.emit_output(_own(e, v, n, outputs)) for n, v in outputs.items()]
        builder.emit_func_output(relax.Tuple(results), [*inputs.values(), *(v for _, v in e.parameters)])
    return Emitted(graph.name, tuple(inputs), tuple(n for n, _ in e.parameters), tuple(outputs), e.symbols)


def is_updated_in_place(value: Value) -> bool:
    """Whether an output is the buffer of an input, which a step has changed."""
    return isinstance(value.type, StateType) and value.type.layout == "contiguous"


def _layout(value: Value) -> str | None:
    return value.type.layout if isinstance(value.type, StateType) else None


def plain_type(value: Value) -> TensorType | StateType:
    assert not isinstance(value.type, QuantizedType), "quantized weights are no inputs"
    return value.type


def _emit(e: Emitter, op: Op) -> None:
    emission = EMISSIONS.get(op.definition)
    where = f" at {op.location}" if op.location else ""
    if emission is None:
        raise UnsupportedError(f"{op.name}{where}: the TVM backend has no {op.name}")
    try:
        emission(e, op)
    except UnsupportedError as error:
        raise UnsupportedError(f"{op.name}{where}: {error}") from None


def _own(e: Emitter, value: Value, name: str, outputs: dict[str, Value]) -> Any:
    """The variable of an output, which has memory of its own: a copy where that is an input's, or another output's."""
    variable = e.value(value)
    memory = origin(variable, e.builder.lookup_binding)
    first = next(n for n, v in outputs.items() if origin(e.value(v), e.builder.lookup_binding).same_as(memory))
    if first == name and isinstance(e.builder.lookup_binding(memory), relax.Call):
        return variable
    return e.copied(variable)
