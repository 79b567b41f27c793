"""Weights of linear layers as products of two thin ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from graphwright.ir import Builder, Graph, Op, PassError, Program, StoredArray, Weight, ops
from graphwright.ir.lazy import torch
from graphwright.ir.rewriting import Outcome
from graphwright.ir.weights import Applied
from graphwright.passes.base import Pass, register
from graphwright.passes.calibration import calibration_tokens
from graphwright.passes.compression.moments import lower_factor
from graphwright.passes.compression.weights import (
    Layers,
    calibrated_weights,
    chosen_weights,
    numbers,
)
from graphwright.passes.quantization.weights import replace_linear_weight

if TYPE_CHECKING:
    from torch import Tensor

RULE = "low-rank"


@register
@dataclass(frozen=True)
class LowRank(Pass):
    """A linear layer becomes two, through `rank` numbers, or as many as leave the part `ratio` of its weight's bytes.

    `whitened` makes the error of the layer's output least for the inputs that calibration `tokens` (a .npy file) give
    (SVD-LLM, Wang et al. 2024), `plain` that of the weight. Where it would save nothing a layer is left alone.
    """

    name: ClassVar[str] = "low-rank"
    lossy: ClassVar[bool] = True
    findings: ClassVar[tuple[str, ...]] = (RULE,)
    rank: int = 0
    ratio: float = 0.0
    method: Literal["whitened", "plain"] = "whitened"
    tokens: str = ""
    layers: Layers = "body"

    def run(self, program: Program) -> Outcome:
        self._check()
        outcome, chosen = Outcome(), chosen_weights(program, self.layers)
        ranks = self._ranks(program, chosen, outcome)
        split: list[tuple[str, Weight, Applied]] = []
        for weight, moment in self._with_moments(program, {name: chosen[name] for name in ranks}):
            dtype = weight.evaluate().dtype
            down, up = (each.to(dtype) for each in factors(numbers(weight), moment, ranks[weight.name]))
            # What follows is to see the new weight, and layers are not taken apart while tokens run through the graph.
            product = Applied.of(ops.matmul, (StoredArray.of(up), StoredArray.of(down)), {})
            dense = replace_linear_weight(program, weight, f"{weight.name}.low_rank", product)
            split.append((weight.name, dense, product))
        for name, dense, product in split:
            up, down = (
                program.add_weight(f"{name}.{side}", each)
                for side, each in zip(("up", "down"), product.operands, strict=True)
                if each is not None
            )
            for graph in program.graphs.values():
                _take_apart(graph, dense, down, up)
            outcome.hit(RULE, chosen[name][0], chosen[name])
        for name in ranks.keys() - {name for name, _, _ in split}:
            outcome.miss(RULE, chosen[name][0], 0, f"no calibration token reaches weight '{name}'")
        program.erase_unused_weights()
        return outcome

    def _check(self) -> None:
        if (self.rank == 0) == (self.ratio == 0.0):
            raise PassError("low-rank: give rank=NUMBER or ratio=PART of each weight's bytes, one of them")
        if self.rank < 0 or not 0 <= self.ratio < 1:
            found = f"rank={self.rank}" if self.rank else f"ratio={self.ratio}"
            raise PassError(f"low-rank: {found} saves nothing: give a positive rank, or a ratio between 0 and 1")

    def _ranks(self, program: Program, chosen: dict[str, list[Op]], outcome: Outcome) -> dict[str, int]:
        """Of each weight that takes fewer bytes as two its rank. Raises `PassError` where none does."""
        ranks: dict[str, int] = {}
        most = 0
        for name, layers in chosen.items():
            rows, columns = (d.evaluate({}) for d in program.weights[name].type.shape)
            saving = (rows * columns - 1) // (rows + columns)
            rank = self.rank or int(self.ratio * rows * columns / (rows + columns))
            most = max(most, saving)
            if 1 <= rank <= saving:
                ranks[name] = rank
            else:
                reason = f"rank {rank} of weight '{name}' [{rows}, {columns}]: ranks 1 to {saving} save bytes"
                outcome.miss(RULE, layers[0], 0, reason)
        if chosen and not ranks:
            found = f"rank={self.rank}" if self.rank else f"ratio={self.ratio}"
            raise PassError(f"low-rank: {found} saves bytes in no weight; ranks up to {most} do in some")
        return ranks

    def _with_moments(self, program: Program, chosen: dict[str, list[Op]]) -> Iterator[tuple[Weight, Tensor | None]]:
        if self.method == "plain":
            yield from ((program.weights[name], None) for name in chosen)
        else:
            tokens = calibration_tokens(program, self.tokens)
            for weight, statistics in calibrated_weights(program, tokens, chosen):
                yield weight, statistics.second_moment


def factors(weight: Tensor, moment: Tensor | None, rank: int) -> tuple[Tensor, Tensor]:
    """down f64 [rank, in] and up f64 [out, rank], whose product up · down is nearest to the weight [out, in].

    Near is a small error of the outputs for inputs of that second moment [in, in], or where it is None of the weight.
    """
    # |(W - W') L| is the error of the outputs; the best W' L of a rank is W L with its small singular values cut off.
    lower = None if moment is None else lower_factor(moment)
    linalg: Any = torch.linalg  # untyped
    u, values, v = linalg.svd(weight if lower is None else weight @ lower, full_matrices=False)
    roots: Tensor = values[:rank].sqrt()
    up, down = u[:, :rank] * roots, roots[:, None] * v[:rank]
    return down if lower is None else linalg.solve_triangular(lower, down, upper=False, left=False), up


def _take_apart(graph: Graph, weight: Weight, down: Weight, up: Weight) -> None:
    """Every linear layer over the weight becomes two; the bias stays with the second."""
    for op in graph:
        if op.definition is ops.linear and op.required("weight").weight is weight:
            build = Builder(graph, op, op.location)
            thin = build(ops.linear, op.required("x"), graph.weight(down))
            graph.replace(op.result, build(ops.linear, thin, graph.weight(up), op.operand("bias")))
            graph.erase(op)
    graph.erase_dead()
