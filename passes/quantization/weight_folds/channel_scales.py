"""A scale for each channel of what linear layers read, moved into the weights that make it.

A layer W x may read x / s instead if its columns are multiplied by s. x / s comes about without an op of its own where
s can be moved back to weights: those of a norm, the rows of the projections behind attention's values, of a gated
unit's linear half, of a ReLU (SmoothQuant, Xiao et al. 2023, section 4; AWQ, Lin et al. 2023, section 3.2). They are
found through the graph: a value whose channels are scaled asks the same of what it is made from and of all that read
it, until weights take it up, in every graph that has those weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir import Graph, Op, Program, Value
from graphwright.ir.lazy import torch
from graphwright.passes.quantization.weight_folds.scale_flow import Places, ScaleFlow
from graphwright.passes.quantization.weight_folds.weight_changes import Transform, WeightChanges, times

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class ChannelFold:
    """Scales that can be moved: `count` free numbers, each for some channels of each value in `inputs`.

    `inputs` says of a value that linear layers read which number each channel of its last axis has, i64 [size], -1
    where it is not scaled.
    """

    inputs: dict[Value, Tensor]
    count: int
    _weights: tuple[tuple[Graph, Op, int, bool, Tensor], ...]
    """Of each place that changes: graph, op, operand, whether it reads the channels, and the number of each element."""

    def spread(self, scales: Tensor, x: Value) -> Tensor:
        """One scale for each channel of x, [size], of the free ones [count]."""
        return _spread(scales, self.inputs[x])

    def gathered(self, magnitudes: Tensor, x: Value) -> Tensor:
        """The mean over the channels of x, given as [size], that have one scale in common: [count]."""
        classes = self.inputs[x]
        total, members = torch.zeros(2, self.count, dtype=magnitudes.dtype)
        scaled_ones = classes >= 0
        total.index_add_(0, classes[scaled_ones], magnitudes[scaled_ones])
        members.index_add_(0, classes[scaled_ones], torch.ones_like(magnitudes[scaled_ones]))
        return total / members.clamp(min=1)

    def largest(self, magnitudes: Tensor, x: Value) -> Tensor:
        """The maximum over the channels of x, given as [size], that have one scale in common: [count]."""
        classes = self.inputs[x]
        found = torch.zeros(self.count, dtype=magnitudes.dtype)
        return found.scatter_reduce_(0, classes[classes >= 0], magnitudes[classes >= 0], "amax")

    def apply(self, changes: WeightChanges, scales: Tensor) -> None:
        """Divides each channel by its scale [count]: multiplies the columns that read it, divides what makes it."""
        transforms: dict[tuple[str | None, bool], Transform] = {}
        for graph, op, index, reads, numbers in self._weights:
            value = op.operands[index]
            assert value is not None
            # Places that read one weight take the same array, so that they go on sharing it.
            key = (value.name, reads)
            if key not in transforms:
                factors = _spread(scales.double(), numbers)
                transforms[key] = times(factors if reads else 1 / factors)
            changes.change(graph, op, index, transforms[key])


class ChannelFolds:
    """The folds of a program, found as they are asked for. The program must not change in between."""

    def __init__(self, program: Program) -> None:
        self._places = Places(program)
        self._found: dict[Value, ChannelFold] = {}

    def of(self, x: Value) -> ChannelFold:
        """The fold of what linear layers read. Raises `Blocked` where its scale cannot be moved."""
        if x not in self._found:
            flow = ScaleFlow(self._places, x)
            numbers, count = flow.classes.numbered()
            weights = tuple(
                (self._places.graphs[op], op, index, reads, _numbered(members, numbers))
                for (op, index, reads), members in flow.weights.items()
            )
            inputs = {op.required("x"): members.flatten() for _, op, _, reads, members in weights if reads}
            fold = ChannelFold(inputs, count, weights)
            for value in inputs:
                self._found.setdefault(value, fold)
        return self._found[x]


def _spread(scales: Tensor, classes: Tensor) -> Tensor:
    return torch.where(classes >= 0, scales[classes.clamp(min=0)], torch.ones((), dtype=scales.dtype))


def _numbered(members: Tensor, numbers: Tensor) -> Tensor:
    return torch.where(members >= 0, numbers[members.clamp(min=0)], members)
