"""The table of emission functions: one for each op that can be written in Relax."""

from __future__ import annotations

from collections.abc import Callable

from graphwright.backends.tvm.emit.emitter import Emitter
from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op

Emission = Callable[[Emitter, Op], None]
"""Writes one op, and binds its results."""

EMISSIONS: dict[OpDef, Emission] = {}


def emits(*definitions: OpDef) -> Callable[[Emission], Emission]:
    """Registers the emission of these ops."""

    def register(function: Emission) -> Emission:
        for definition in definitions:
            assert definition not in EMISSIONS, f"{definition} is emitted twice"
            EMISSIONS[definition] = function
        return function

    return register
