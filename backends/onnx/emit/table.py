"""The table of emission functions: one for each op that can be written as ONNX nodes."""

from __future__ import annotations

from collections.abc import Callable

from graphwright.backends.onnx.emit.emitter import Emitter
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op

Emission = Callable[[Emitter, Op], None]
"""Writes the nodes of one op. The names of its results are given by `Emitter.name`."""

EMISSIONS: dict[OpDef, Emission] = {}


def emits(*definitions: OpDef) -> Callable[[Emission], Emission]:
    """Registers the emission of these ops."""

    def register(function: Emission) -> Emission:
        for definition in definitions:
            assert definition not in EMISSIONS, f"{definition} is emitted twice"
            EMISSIONS[definition] = function
        return function

    return register


def emits_node(rows: dict[OpDef, str], domain: str = "") -> None:
    """Registers ops that are one node with the same operands and no attributes."""
    for definition, kind in rows.items():
        emits(definition)(_single(kind, domain))


def _single(kind: str, domain: str) -> Emission:
    def emit(e: Emitter, op: Op) -> None:
        e.results(op, kind, *e.operands(op), domain=domain)

    return emit
