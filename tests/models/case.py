"""A compiled tiny model beside the original, and how far the two may be apart."""

from __future__ import annotations

from typing import Any

import torch

from benchmarks.coverage.reference import error
from graphwright.frontend import capture
from graphwright.ir import Program
from graphwright.passes import PIPELINES, run_passes
from tests.captures import shared

CHUNKS = (7, 1, 1, 3, 5, 1, 1, 9)
LENGTHS = (28, 17, 9)


class Case:
    """A compiled tiny model with the eager logits of some rows, in float32 and in float64.

    Tests share it: what changes a program takes a clone.
    """

    def __init__(self, label: str, model: Any) -> None:
        self.captured: Program = shared(label, lambda: capture(model))
        self.captured.metadata.setdefault("context_length", 512)  # BLOOM states none
        self.program = self.captured.clone()
        self.report = run_passes(self.program, PIPELINES["cpu"])
        generator = torch.Generator().manual_seed(3)
        self.rows = [torch.randint(3, 250, (n,), generator=generator) for n in LENGTHS]
        with torch.no_grad():
            self.eager = [model(row[None]).logits[0] for row in self.rows]
            double = model.double()
            self.exact = [double(row[None]).logits[0] for row in self.rows]

    @property
    def bound(self) -> float:
        """Four times eager float32's own distance from float64: our sums are as long, in another order."""
        return 4 * max(error(a, b) for a, b in zip(self.eager, self.exact, strict=True))
