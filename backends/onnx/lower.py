"""A lowered graph as an ONNX model. Every op has one emission in a table; there are no special cases."""

from dataclasses import dataclass

from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from graphwright.backends.onnx.element_types import ONNX_TYPES
from graphwright.backends.onnx.emit import EMISSIONS, Emitter
from graphwright.backends.onnx.emit.emitter import MICROSOFT
from graphwright.backends.program_specs import shape_names
from graphwright.backends.weights_file import WeightsLayout
from graphwright.ir.dialects.ort.capabilities import OPSET
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Value
from graphwright.ir.weights import Weight

IR_VERSION = 11
"""Of the ONNX file format: the first that knows opset 24's models in every released reader."""


@dataclass(frozen=True)
class Lowered:
    """A model whose large weights are still to be placed in a file."""

    model: ModelProto
    external: list[Weight]
    types: dict[str, int]
    """The element types of the graph's values, as ONNX numbers them, by the names that they have in the model."""


def lower(graph: Graph, name: str, *, contrib: bool) -> Lowered:
    """The model; `contrib` says whether it may use ONNX Runtime's own operators.

    Raises `UnsupportedError` for an op without emission and for types that ONNX cannot exchange.
    """
    e = Emitter(graph)
    for op in graph:
        emission = EMISSIONS.get(op.definition)
        if emission is None:
            raise UnsupportedError(f"{op.name}{' at ' + op.location if op.location else ''}: it has no ONNX emission")
        e.at(op)
        emission(e, op)
    for output, value in graph.outputs.items():
        if e.name(value) != output:
            e.outputs("Identity", [e.name(value)], [output])
    inputs = [_info(v.name or "", v) for v in graph.inputs]
    outputs = [_info(output, v) for output, v in graph.outputs.items()]
    proto = helper.make_graph(e.nodes, name, inputs, outputs, initializer=e.inline)
    proto.initializer.extend(_external(weight) for weight in e.external)
    opsets = [helper.make_opsetid("", OPSET)]
    if contrib:
        opsets.append(helper.make_opsetid(MICROSOFT, 1))
    model = helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="graphwright")
    return Lowered(model, e.external, e.types())


def place_weights(lowered: Lowered, layout: WeightsLayout, file: str) -> None:
    """Points the model's external weights into the file of that layout."""
    by_name = {tensor.name: tensor for tensor in lowered.model.graph.initializer}
    for weight in lowered.external:
        place = layout.places[weight.name]
        tensor = by_name[weight.name]
        for key, value in (("location", file), ("offset", str(place.offset)), ("length", str(place.length))):
            tensor.external_data.add(key=key, value=value)


def _external(weight: Weight) -> TensorProto:
    tensor = TensorProto()
    tensor.name = weight.name
    tensor.data_type = ONNX_TYPES[weight.type.dtype]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType] - plan_weights refuses quantized types
    tensor.dims.extend(d.evaluate({}) for d in weight.type.shape)
    tensor.data_location = TensorProto.EXTERNAL
    return tensor


def _info(name: str, value: Value) -> ValueInfoProto:
    type = value.tensor
    if type.dtype not in ONNX_TYPES:
        raise UnsupportedError(f"'{name}' is {type}, which ONNX cannot exchange")
    return helper.make_tensor_value_info(name, ONNX_TYPES[type.dtype], shape_names(type.shape))
