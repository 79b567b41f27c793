"""In which form prefill reads quantized weights: packed as decode does, unpacked once a call, or from a second copy."""

from dataclasses import dataclass
from typing import Literal

from graphwright.ir import ops
from graphwright.ir.graph import Graph
from graphwright.ir.machines import Machine
from graphwright.ir.types import DType, QuantizedType
from graphwright.ir.weights import Weight

Form = Literal["packed", "unpacked", "second copy"]


@dataclass(frozen=True)
class PrefillForm:
    """`weight_bytes` are held while prefill runs, for both phases: codes and scales, and in float32 the largest weight
    (unpacked) or all of them (second copy). `seconds` is the roofline time of the products, None without a machine."""

    form: Form
    weight_bytes: int
    seconds: float | None


def prefill_forms(graph: Graph, tokens: int, machine: Machine | None = None) -> list[PrefillForm]:
    """The three forms for the linear layers over quantized weights of a graph, each weight counted once; none without
    such layers. Products in any form are taken to run at the machine's rate for float32."""
    layers = {
        weight
        for op in graph
        if op.definition is ops.linear
        and (weight := op.required("weight").weight) is not None
        and isinstance(weight.type, QuantizedType)
    }
    if not layers:
        return []
    packed, floats = sum(map(_stored, layers)), [_float_bytes(weight) for weight in layers]
    held: dict[Form, int] = {
        "packed": packed,
        "unpacked": packed + max(floats),
        "second copy": packed + sum(floats),
    }
    return [
        PrefillForm(
            form,
            size,
            None if machine is None else sum(_seconds(form, w, tokens, machine) for w in layers),
        )
        for form, size in held.items()
    ]


def _seconds(form: Form, weight: Weight, tokens: int, machine: Machine) -> float:
    flops = 2 * tokens * weight.type.elements.evaluate({})
    read = _stored(weight) if form == "packed" else _float_bytes(weight)
    product = max(flops / machine.rate(DType.F32), read / machine.bytes_per_second)
    if form != "unpacked":
        return product
    return product + (_stored(weight) + _float_bytes(weight)) / machine.bytes_per_second


def _stored(weight: Weight) -> int:
    return -(-weight.type.bits.evaluate({}) // 8)


def _float_bytes(weight: Weight) -> int:
    return weight.type.elements.evaluate({}) * DType.F32.bits // 8
