"""Memory in which the programs of a split product meet, as a launch gives it."""

from __future__ import annotations

import torch
from torch import Tensor


def meeting(splits: int, sums: int, tiles: int) -> dict[str, Tensor | None]:
    """Sums that are no numbers yet, and counters that are zero; none for one split."""
    if splits == 1:
        return {"partial": None, "arrived": None}
    return {"partial": torch.full((splits, sums), float("nan")), "arrived": torch.zeros(tiles, dtype=torch.int32)}


def check_met(memory: dict[str, Tensor | None]) -> None:
    """Counters are as the next launch wants them."""
    arrived = memory["arrived"]
    assert arrived is None or not arrived.any()
