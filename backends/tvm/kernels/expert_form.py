"""What one mixture of experts is: its sizes, and what stands between its two products."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from graphwright.backends.tvm.kernels.activation import activate
from graphwright.backends.tvm.kernels.fast_math import let, number, sigmoid
from graphwright.backends.tvm.tvm_library import T
from graphwright.ir.ops.neural import Activation


@dataclass(frozen=True)
class ExpertForm:
    """The attributes of `moe_experts` beside the sizes of its operands; `biases` tells which of the two there are."""

    experts: int
    size: int
    inner: int
    outer: int
    chosen: int
    gated: bool
    kind: Activation
    alpha: float
    limit: float
    up_offset: float
    biases: tuple[bool, bool]

    @property
    def height(self) -> int:
        """Rows of an expert's first matrix."""
        return 2 * self.inner if self.gated else self.inner

    def unit(self, gate: Any, up: Any | None) -> Any:
        """What becomes of sums of the first product: of a pair, or of one where there is no gate."""
        if not self.gated:
            return let(gate, self._active)
        return let(gate, lambda gate: let(up, lambda up: self._gated(gate, up)))

    def _gated(self, gate: Any, up: Any) -> Any:
        if self.limit != math.inf:
            top = number(self.limit, gate)
            gate = T.Select(gate > top, top, gate)
            up = T.Select(up > top, top, T.Select(up < -top, -top, up))
        return let(gate, self._active) * (up + number(self.up_offset, gate))

    def _active(self, gate: Any) -> Any:
        return gate * sigmoid(number(self.alpha, gate) * gate) if self.alpha != 1.0 else activate(gate, self.kind)
