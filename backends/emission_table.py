"""A backend's table of emission functions: one for each op that it can write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from graphwright.ir.declare import OpDef
from graphwright.ir.graph import Op

Emitter = TypeVar("Emitter")


class EmissionTable(Generic[Emitter]):
    """`rows` has, of each op, the function that writes it with the backend's emitter."""

    def __init__(self) -> None:
        self.rows: dict[OpDef, Callable[[Emitter, Op], None]] = {}

    def emits(self, *definitions: OpDef) -> Callable[[Callable[[Emitter, Op], None]], Callable[[Emitter, Op], None]]:
        """Registers the emission of these ops."""

        def register(function: Callable[[Emitter, Op], None]) -> Callable[[Emitter, Op], None]:
            for definition in definitions:
                assert definition not in self.rows, f"{definition} is emitted twice"
                self.rows[definition] = function
            return function

        return register
