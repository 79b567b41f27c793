"""Classes of numbers that must be equal: a union of sets over tensors of members."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.ir.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor


class Classes:
    """Members 0 … count-1, each in a class of its own at first. -1 stands for none."""

    def __init__(self, count: int) -> None:
        self._parent = torch.arange(count)

    def of(self, members: Tensor) -> Tensor:
        """The least member of the class of each."""
        found = torch.where(members >= 0, self._parent[members.clamp(min=0)], members)
        while True:
            further = torch.where(found >= 0, self._parent[found.clamp(min=0)], found)
            if torch.equal(further, found):
                return found
            found = further

    def merge(self, one: Tensor, other: Tensor) -> None:
        """Puts members at the same place into one class, where both tensors, which broadcast, have one."""
        both = (one >= 0) & (other >= 0)
        a, b = one.expand(both.shape)[both], other.expand(both.shape)[both]
        while True:
            a, b = self.of(a), self.of(b)
            apart = a != b
            if not bool(apart.any()):
                return
            a, b = a[apart], b[apart]
            # Of several pairs with one larger root any may come last; the others are joined in the next round.
            self._parent[torch.maximum(a, b)] = torch.minimum(a, b)

    def numbered(self) -> tuple[Tensor, int]:
        """A number for each member, equal within a class, and how many classes there are."""
        roots = self.of(torch.arange(len(self._parent)))
        # A root is the least of its class: numbered in order, each class gets the number of its root.
        is_root = roots == torch.arange(len(roots))
        return (is_root.cumsum(0) - 1)[roots], int(is_root.sum())
