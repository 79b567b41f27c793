"""GPTQ (Frantar et al. 2023): columns are rounded one after another, and those still to come make up for the error.

The error of a product is D H Dᵀ for a change D of the weight and the second moment H of its inputs. The best answer of
the later columns to an error in one column is known in closed form from the inverse of H, and all inverses that are
needed are rows of one Cholesky factor of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from graphwright.ir import PassError
from graphwright.ir.lazy import torch
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.rounding import Grid, Scales, Search, fit, grouped, whole_scale
from graphwright.ir.types import QuantizedType

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 128
"""Columns that are corrected one by one; what lies behind them gets the corrections of all of them at once."""

ROWS = 4096
"""Rows of a weight, which do not depend on each other, that are rounded at a time."""


@dataclass(frozen=True, eq=False)
class Factor:
    """What rounding needs to know of a layer's inputs: the `order` i64 [size] in which columns are rounded, and U f64
    [size, size], upper triangular, with UᵀU the inverse of the damped second moment in that order."""

    order: Tensor
    upper: Tensor

    @classmethod
    def of(cls, second_moment: Tensor, damping: float, by_activation: bool) -> Factor:
        """`damping` times the mean of the diagonal is added to it. Inputs that were always zero are left to themselves.

        The order is that of falling second moments if `by_activation`: what matters most is rounded first, while most
        is left that can make up for it. Raises `PassError` where the damping is not enough for an inverse.
        """
        moment = second_moment.double()
        diagonal = moment.diagonal()
        order = diagonal.argsort(descending=True, stable=True) if by_activation else torch.arange(len(diagonal))
        moment = moment[order][:, order]
        diagonal = moment.diagonal()
        mean = diagonal.mean()
        diagonal += torch.where(diagonal == 0, torch.where(mean == 0, 1.0, mean), damping * mean)
        lower = _cholesky(moment, upper=False)
        upper = None if lower is None else _cholesky(torch.cholesky_inverse(lower), upper=True)
        if upper is None:
            raise PassError(f"the second moments of {len(order)} inputs have no inverse at damping={damping}: raise it")
        return cls(order, upper)


def _cholesky(matrix: Tensor, *, upper: bool) -> Tensor | None:
    """The factor of a positive definite matrix; None for any other."""
    found = cast(
        "tuple[Tensor, Tensor]",
        torch.linalg.cholesky_ex(matrix, upper=upper),  # pyright: ignore[reportUnknownMemberType] - untyped library
    )
    return None if found[1].item() else found[0]


def round_with_compensation(weight: Tensor, factor: Factor, type: QuantizedType, search: Search) -> QuantizedTensor:
    """The weight [out, in] in codes of the type, which is grouped along `in`.

    In natural order a group's scales are fitted as it begins, to what the columns before have made of it; in any other
    order they are those of the weight as it was, so that groups stay groups of neighbours.
    """
    tensor_scale = whole_scale(weight.float(), type) if type.tensor_scale else None
    parts = [_Rows(rows.double(), factor, type, search, tensor_scale) for rows in torch.split(weight, ROWS)]
    scales = Scales.joined([part.scales for part in parts], torch.cat)
    return scales.quantized(torch.cat([part.codes for part in parts]), type)


class _Rows:
    """Some rows of a weight, rounded: `codes` [rows, in] and `scales` f64 [rows, groups]."""

    def __init__(
        self, rows: Tensor, factor: Factor, type: QuantizedType, search: Search, tensor_scale: Tensor | None
    ) -> None:
        self._type, self._tensor_scale = type, tensor_scale
        self._search: Search = search
        grid, upper, count = Grid(type.element), factor.upper, rows.shape[1]
        order = [int(i) for i in factor.order]
        natural = order == sorted(order)
        group = type.group or count
        # Columns lie in one piece, as each is read and written as a whole.
        columns = rows.T[factor.order].contiguous()
        scales: dict[int, Scales] = {} if natural else self._all(rows)
        codes: list[Tensor] = [rows] * count
        for start, stop in _blocks(count, group if natural else count):
            if natural and start % group == 0:
                scales[start // group] = self._fit(columns[start : start + group].T.unsqueeze(1))
            errors = torch.empty_like(columns[start:stop])
            for i in range(start, stop):
                scale = scales[order[i] // group]
                chosen = scale.encode(columns[i, :, None, None], grid)
                codes[order[i]] = chosen.flatten()
                errors[i - start] = (columns[i] - scale.decode(chosen, grid).flatten()) / upper[i, i]
                columns[i + 1 : stop].addr_(upper[i, i + 1 : stop], errors[i - start], alpha=-1)
            columns[stop:].addmm_(upper[start:stop, stop:].T, errors, alpha=-1)
        self.codes = torch.stack([c.view(torch.uint8) for c in codes], 1).view(codes[0].dtype)
        self.scales = Scales.joined([scales[i] for i in sorted(scales)], lambda groups: torch.cat(groups, 1))

    def _fit(self, groups: Tensor) -> Scales:
        return fit(groups, self._type, self._search, self._tensor_scale)

    def _all(self, rows: Tensor) -> dict[int, Scales]:
        """The scales of every group of the rows as they are."""
        found = self._fit(grouped(rows, self._type.group, repeats=self._type.minimum))
        return {i: found.mapped(lambda each, i=i: each[:, i, None]) for i in range(found.scale.shape[1])}


def _blocks(count: int, group: int) -> Iterator[tuple[int, int]]:
    """Columns in pieces of at most `BLOCK`, none of which reaches over the end of a group."""
    for start in range(0, count, group):
        end = min(start + group, count)
        for first in range(start, end, BLOCK):
            yield first, min(first + BLOCK, end)
