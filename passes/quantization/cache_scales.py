"""Scales for caches, from what a program appends to them as it reads calibration tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from graphwright.ir import DType, Interpreter, Op, Program, ops
from graphwright.ir.lazy import torch
from graphwright.ir.rounding import Grid
from graphwright.passes.calibration import calibration_graph
from graphwright.passes.proving.cached import CachedRun

if TYPE_CHECKING:
    from torch import Tensor

Share = Literal["tensor", "channel"]
"""What has a scale of its own: the whole cache (f32[]), or each channel of each head (f32[1, heads, 1, size])."""

ROWS_AT_ONCE = 8


def fit_scales(program: Program, tokens: Tensor, shares: Mapping[str, Share], codes: DType) -> dict[str, Tensor]:
    """Of each cache, by the name of its input, the scale with which the largest number still fits that is appended to
    it for the tokens i64 [rows, length].

    Cutting the largest numbers off makes the squared error smaller, but what attention gives worse: it looks for them.
    Raises `PassError` where the program takes more than token ids.
    """
    calibration_graph(program)
    largest: dict[str, Tensor] = {}

    def see(name: str, x: Tensor) -> None:
        axes = (0, 2) if shares[name] == "channel" else (0, 1, 2, 3)
        here = x.abs().amax(axes, keepdim=shares[name] == "channel")
        largest[name] = torch.maximum(largest[name], here) if name in largest else here

    interpreter = _Watching(shares.keys(), see)
    length = tokens.shape[1]
    for start in range(0, len(tokens), ROWS_AT_ONCE):
        rows = tokens[start : start + ROWS_AT_ONCE]
        run = CachedRun(program, interpreter, len(rows), length)
        # The logits of one token are asked for: nobody looks at them.
        run.step(rows, torch.full((len(rows),), length), torch.zeros(len(rows), 1, dtype=torch.int64))
    # A channel that is always zero may have any scale.
    return {name: torch.where(x == 0, torch.ones_like(x), x / Grid(codes).most) for name, x in largest.items()}


class _Watching(Interpreter):
    """Shows what is appended to caches, as float32, before it goes on."""

    def __init__(self, caches: Iterable[str], see: Callable[[str, Tensor], None]) -> None:
        super().__init__()
        self._caches, self._see = set(caches), see

    def run_op(self, op: Op, operands: Sequence[Tensor | None], bindings: Mapping[str, int]) -> list[Tensor]:
        if op.definition is ops.kv_append and (name := str(op.required("cache").name)) in self._caches:
            new = operands[op.definition.operand_index("new")]
            assert new is not None
            self._see(name, new.float())
        return super().run_op(op, operands, bindings)
