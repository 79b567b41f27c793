"""What an emission is: one of the tables of the files beside has it for each op that can be written as ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphwright.backends.onnx.emit.emitter import Emitter
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op

Emission = Callable[[Emitter, Op], None]
"""Writes the nodes of one op. The names of its results are given by `Emitter.name`."""


def single_nodes(kinds: Mapping[OpDef, str]) -> dict[OpDef, Emission]:
    """Emissions of ops that are one node, of that kind, with the same operands and no attributes."""

    def emission(kind: str) -> Emission:
        return lambda e, op: e.results(op, kind, *e.operands(op))

    return {definition: emission(kind) for definition, kind in kinds.items()}
