"""What views show: a view has no memory of its own."""

from __future__ import annotations

from graphwright.ir.graph import Value


def shown(value: Value) -> Value:
    """The value that a view, or a view of views, shows the elements of; any other value itself."""
    while value.owner is not None and value.owner.definition.view:
        value = value.owner.inputs[0]
    return value


def shown_weights(value: Value) -> list[str]:
    """The names of the weights that a value is, or that views make it of; none where it is made in a run."""
    if value.weight is not None:
        return [value.weight.name]
    if value.owner is None or not value.owner.definition.view:
        return []
    return [name for operand in value.owner.inputs for name in shown_weights(operand)]
