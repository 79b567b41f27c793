"""The CUDA kernels of a release of ONNX Runtime: of each operator the element types that it takes.

The table is a file that `python -m benchmarks.onnxruntime_kernels` reads off the release's own wheel. What the wheel
does not tell is in which memory a kernel wants an operand: that is `HOST_INPUTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

TABLE = Path(__file__).parent / "onnxruntime-gpu-1.31.txt"

HOST_INPUTS: dict[str, tuple[int, ...]] = {
    "Reshape": (1,),
    "Expand": (1,),
    "Slice": (1, 2, 3, 4),
    "Range": (0, 1, 2),
    "Unsqueeze": (1,),
    "Squeeze": (1,),
    "TopK": (1,),
    "Tile": (1,),
    "Pad": (1, 2, 3),
    "ConstantOfShape": (0,),
    "Split": (1,),
    "Clip": (1, 2),
    "CumSum": (1,),
    "Trilu": (1,),
    "ReduceSum": (1,),
    "ReduceMean": (1,),
    "ReduceMax": (1,),
    "ReduceMin": (1,),
    "Loop": (0, 1),
    "If": (0,),
    "GroupQueryAttention": (6,),
}
"""Operands that the CUDA kernel reads on the CPU: sizes, axes, the longest sequence."""
HOST_OUTPUTS = ("Shape", "Size")
"""Operators whose CUDA kernels leave their result on the CPU."""


@dataclass(frozen=True)
class Kernel:
    """What one kernel takes: sets of element types, as ONNX calls them, of operands and of results."""

    inputs: Mapping[int, frozenset[str]]
    rest: tuple[int, frozenset[str]] | None
    """From which operand on all are of these types, for an operator with any number of them."""
    outputs: Mapping[int, frozenset[str]]

    def takes(self, inputs: Mapping[int, str], outputs: Mapping[int, str]) -> bool:
        """Whether it computes operands of these types, by their positions, to such results."""
        return all(self._takes_input(place, dtype) for place, dtype in inputs.items()) and all(
            dtype in self.outputs.get(place, (dtype,)) for place, dtype in outputs.items()
        )

    def _takes_input(self, place: int, dtype: str) -> bool:
        if self.rest is not None and place >= self.rest[0]:
            return dtype in self.rest[1]
        return dtype in self.inputs.get(place, (dtype,))


Kernels = Mapping[tuple[str, str], tuple[Kernel, ...]]
"""By operator and domain."""


@cache
def cuda_kernels() -> Kernels:
    """Those of the release that artifacts for CUDA are compiled for."""
    return read_kernels(TABLE.read_text(encoding="utf-8"))


def read_kernels(text: str) -> Kernels:
    """A table; `benchmarks.onnxruntime_kernels` says how its lines are made."""
    found: dict[tuple[str, str], list[Kernel]] = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, domain, *constraints = line.split()
        inputs: dict[int, frozenset[str]] = {}
        outputs: dict[int, frozenset[str]] = {}
        rest: tuple[int, frozenset[str]] | None = None
        for constraint in constraints:
            places, _, names = constraint.partition("=")
            types = frozenset(names.split("|"))
            for place in places.split(","):
                if place.startswith(">"):
                    outputs[int(place[1:].removesuffix("+"))] = types
                elif place.endswith("+"):
                    rest = int(place[:-1]), types
                else:
                    inputs[int(place)] = types
        found.setdefault((name, domain.removeprefix("-")), []).append(Kernel(inputs, rest, outputs))
    return {key: tuple(kernels) for key, kernels in found.items()}
