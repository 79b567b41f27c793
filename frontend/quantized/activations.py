"""Inputs that a quantized checkpoint rounds when it runs: an op of its own in front of the layer."""

from collections.abc import Mapping

from graphwright.frontend.quantized.layer import Rounding
from graphwright.ir import Builder, Graph, Op, Program, UnsupportedError, ops


def round_inputs(program: Program, roundings: Mapping[str, Rounding]) -> None:
    """Puts `fake_quantize` before each linear layer over the named weights.

    Raises `UnsupportedError` where anything but a linear layer reads such a weight: what it would round is not known.
    """
    for graph in program.graphs.values():
        for op in graph:
            for operand, value in zip(op.definition.operands, op.operands, strict=False):
                weight = None if value is None else value.weight
                if weight is not None and weight.name in roundings:
                    if op.definition is not ops.linear or operand.name != "weight":
                        raise UnsupportedError(
                            f"{op.name} at {op.location or '?'} reads weight '{weight.name}', whose layer rounds its "
                            f"inputs: that is read of linear layers alone"
                        )
                    _round(graph, op, roundings[weight.name])


def _round(graph: Graph, op: Op, rounding: Rounding) -> None:
    build = Builder(graph, op, op.location)
    rounded = build(ops.fake_quantize, op.required("x"), to=rounding.to, group=rounding.group)
    graph.set_operand(op, ops.linear.operand_index("x"), rounded)
