"""A group of ops that one emission writes, and when that is right."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from graphwright.backends.tvm.emit.emitter import Emitter
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.types import DType, QuantizedType, StateType


@dataclass(frozen=True)
class Fusion:
    """Ops in the place of whose last `write` emits them all; it binds the `results` and no other value of theirs.

    `columns` are results of splits, not of members, that the kernel reads where they stand in what is split.
    """

    members: tuple[Op, ...]
    results: tuple[Value, ...]
    write: Callable[[Emitter], None]
    columns: tuple[Value, ...] = ()

    def write_behind(self, e: Emitter, op: Op) -> None:
        """Writes the group if `op` is its last member."""
        if op is self.members[-1]:
            self.write(e)

    def ordered(self, order: Mapping[Op, int]) -> Fusion:
        """The same group, its members as they stand in the graph."""
        return replace(self, members=tuple(sorted(self.members, key=order.__getitem__)))

    def fits(self, graph: Graph, order: Mapping[Op, int]) -> bool:
        """Whether the graph is as before if the members come late: `order` tells where its ops stand.

        Nobody else may read what is between the members, and nobody the results before the last member; nor may another
        op change a state while the first members wait.
        """
        first, last = order[self.members[0]], order[self.members[-1]]
        for value in (*(v for op in self.members for v in op.results), *self.columns):
            others = [op for op in value.users if op not in self.members]
            if value in self.results:
                if any(order[op] < last for op in others):
                    return False
            elif others or graph.is_output(value):
                return False
        between = (op for op in islice(order, first, last) if op not in self.members)
        return not any(isinstance(v.type, StateType) for op in between for v in op.results)


def is_single(*values: Value | None) -> bool:
    """Whether all values that are present are of float32, as kernels take and give them."""
    present = [v for v in values if v is not None]
    return all(not isinstance(v.type, QuantizedType) and v.tensor.dtype is DType.F32 for v in present)


def start_column(split: Op, result: Value) -> int:
    """Where in the last axis of what is split a result begins."""
    return sum(v.type.shape[-1].evaluate({}) for v in split.results[: result.index])


def splits_rows(op: Op) -> bool:
    """Whether a split cuts the last axis."""
    axis = op.attributes["axis"]
    assert isinstance(axis, int), "declared so"
    return axis % op.inputs[0].type.rank == op.inputs[0].type.rank - 1
