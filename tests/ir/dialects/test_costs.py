"""Every op of every dialect states what it costs: a lowered program is priced as a captured one is."""

from __future__ import annotations

import graphwright.ir
from graphwright.ir.declare import REGISTRY


def test_every_op_of_a_dialect_states_its_cost() -> None:
    assert graphwright.ir.dialects.__all__, "importing the IR declares them"
    own = {name: definition for name, definition in REGISTRY.items() if "." in name}
    assert {name.partition(".")[0] for name in own} >= {"onnx", "ort"}
    assert [name for name, definition in own.items() if not definition.states_cost] == []
