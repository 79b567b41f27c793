"""Where the tokens of a sequence lie in each value, and the proof that they stay apart.

Every op says how the axes of its operands flow into its result. Following the sequence from the token ids on, each
value has one axis that holds its tokens, alone or folded with others in row-major order (`[B*S]`, `[S*4]`). An op
whose flow ends there mixes tokens; so does a reshape that tears a folded axis apart in another way than it was made.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import gcd

from graphwright.ir import Dim, Op, PassError, Value, ops
from graphwright.ir.convention import SEQUENCE
from graphwright.ir.dims import product
from graphwright.ir.location import at_source

S = Dim.of(SEQUENCE)
Factors = tuple[Dim, ...]
"""The dimensions that an axis is the row-major product of."""


def refuse(op: Op | None, reason: str) -> PassError:
    """The refusal of cache insertion, naming the op and its module path."""
    where = f" at {op.location}" if op is not None and op.location else ""
    name = f"{op.name}{where}: " if op is not None else ""
    return PassError(f"insert-kv-cache: {name}{reason}{at_source(op.location) if op is not None else ''}")


@dataclass(frozen=True)
class TokenAxis:
    """The axis of a value that holds its tokens, and what it is a product of: `(S,)` where they stand alone."""

    axis: int
    factors: Factors = (S,)

    @property
    def alone(self) -> bool:
        return self.factors == (S,)


class TokenAxes:
    """The token axes of the values of a forward graph, found op by op, in order."""

    def __init__(self, tokens: Iterable[Value], is_free: Callable[[Value], bool]) -> None:
        self._axes: dict[Value, TokenAxis] = {value: TokenAxis(1) for value in tokens}
        self._is_free = is_free
        """Whether a value depends on no token."""

    def __getitem__(self, value: Value) -> TokenAxis:
        return self._axes[value]

    def place(self, value: Value, axis: TokenAxis) -> None:
        """Says where the tokens of a value lie that an op outside these rules gave."""
        self._axes[value] = axis

    def follow(self, op: Op) -> None:
        """Finds the token axes of an op's results. Raises `PassError` where the op mixes tokens."""
        found: TokenAxis | None = None
        flow = op.definition.axis_flow(op)
        for value, axes in zip(op.inputs, flow, strict=True):
            if self._is_free(value):
                continue
            axis = self._axes[value]
            target = _regrouped(op, axis) if op.definition is ops.reshape else _flown(axis, axes[axis.axis])
            if target is None:
                raise refuse(
                    op,
                    f"it mixes tokens along axis {axis.axis} of {value.type}; "
                    "only attention and recurrences may, where they look at no later token",
                )
            if found is not None and found != target:
                raise refuse(op, "it relates the tokens of its operands to each other; only attention may")
            found = target
        assert found is not None, f"{op} depends on no token"
        for value in op.results:
            dim = value.type.shape[found.axis]
            if dim is not product(found.factors):
                raise refuse(op, f"axis {found.axis} of {value.type} does not hold the tokens in their order")
            if sum(SEQUENCE in d.symbols for d in value.type.shape) > 1:
                raise refuse(op, f"it relates tokens to each other in {value.type}; only attention may")
            self._axes[value] = found


def _flown(axis: TokenAxis, target: int | None) -> TokenAxis | None:
    return None if target is None else TokenAxis(target, axis.factors)


def _regrouped(op: Op, axis: TokenAxis) -> TokenAxis | None:
    """Where a reshape puts the token axis, if it keeps each token's elements together."""
    before = op.inputs[0].type.shape
    factors = (*before[: axis.axis], *axis.factors, *before[axis.axis + 1 :])
    groups = regroup(factors, op.results[0].type.shape)
    holders = [i for i, group in enumerate(groups or ()) if S in group]
    return TokenAxis(holders[0], _joined(groups[holders[0]])) if groups is not None and len(holders) == 1 else None


def _joined(factors: Factors) -> Factors:
    """The factors with constants that follow each other made one: [S, 2, 2] folds as [S, 4] does."""
    joined: list[Dim] = []
    for factor in factors:
        if joined and joined[-1].constant is not None and factor.constant is not None:
            joined[-1] = joined[-1] * factor
        else:
            joined.append(factor)
    return tuple(joined)


def regroup(factors: Sequence[Dim], shape: Sequence[Dim]) -> list[Factors] | None:
    """Of each axis of a shape the consecutive factors that it is the product of, None if one would have to be torn.

    Constants may be divided: (S, 12) as [S, 3, 4] is (S,), (3,), (4,).
    """
    rest = [f for f in factors if f.constant != 1]
    groups: list[Factors] = []
    for dim in shape:
        group: list[Dim] = []
        while dim.constant != 1:
            if not rest:
                return None
            first = rest[0]
            if first.constant is not None and dim.constant is not None:
                part = gcd(first.constant, dim.constant)
                if part == 1 or (first.constant != part and dim.constant != part):
                    return None
                step, remaining = Dim.of(part), Dim.of(first.constant // part)
            else:
                step, remaining = first, Dim.of(1)
            quotient = dim.exact_div(step)
            if quotient is None:
                return None
            dim = quotient
            group.append(step)
            rest[:1] = [] if remaining.constant == 1 else [remaining]
        groups.append(tuple(group))
    return groups if not rest else None
