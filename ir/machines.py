"""Machines that prices are computed for, as records: peak rates, memory bandwidth, and the least time of a launch."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass

from graphwright.ir.errors import UserError
from graphwright.ir.types import DType


@dataclass(frozen=True)
class Machine:
    """`flops_per_second` are peak rates of products by element type, without sparsity, summing in 32 bits or more."""

    name: str
    flops_per_second: Mapping[DType, float]
    bytes_per_second: float
    launch_seconds: float
    source: str

    def rate(self, dtype: DType) -> float:
        """FLOPs per second of products in an element type; those that the machine lacks are computed in float32."""
        return self.flops_per_second.get(dtype, self.flops_per_second[DType.F32])


def _nvidia(name: str, tera: Mapping[str, float], terabytes: float, source: str) -> Machine:
    """Rates in 10**12 per second. Datasheets do not state the time of a launch."""
    rates = {DType(dtype): rate * 1e12 for dtype, rate in tera.items()}
    launch = "; a launch is taken to be 1.3 us, about what lies between the starts of two small kernels of a CUDA graph"
    return Machine(name, rates, terabytes * 1e12, 1.3e-6, source + launch)


_HOPPER = {
    "f64": 67.0,
    "f32": 67.0,
    "bf16": 989.4,
    "f16": 989.4,
    "f8e4m3": 1978.9,
    "f8e5m2": 1978.9,
    "i8": 1978.9,
}
_BLACKWELL = {
    "f64": 40.0,
    "f32": 80.0,
    "bf16": 2250.0,
    "f16": 2250.0,
    "f8e4m3": 4500.0,
    "f8e5m2": 4500.0,
    "i8": 4500.0,
}
_L4 = {"f64": 0.49, "f32": 30.3, "bf16": 121.0, "f16": 121.0, "f8e4m3": 242.5, "f8e5m2": 242.5, "i8": 242.5}
_AMPERE = {"f64": 19.5, "f32": 19.5, "bf16": 312.0, "f16": 312.0, "i8": 624.0}
_ADA = {"f64": 1.29, "f32": 82.6, "bf16": 165.2, "f16": 165.2, "f8e4m3": 330.3, "f8e5m2": 330.3, "i8": 660.6}

MACHINES: dict[str, Machine] = {
    machine.name: machine
    for machine in (
        _nvidia(
            "b200", _BLACKWELL, 8.0, "NVIDIA Blackwell architecture technical brief, HGX B200, rates without sparsity"
        ),
        _nvidia("h200", _HOPPER, 4.8, "NVIDIA H200 Tensor Core GPU datasheet, H200 SXM, rates without sparsity"),
        _nvidia("h100", _HOPPER, 3.35, "NVIDIA H100 Tensor Core GPU datasheet, H100 SXM, rates without sparsity"),
        _nvidia("a100", _AMPERE, 2.039, "NVIDIA A100 Tensor Core GPU datasheet, A100 80GB SXM, rates without sparsity"),
        _nvidia("l4", _L4, 0.3, "NVIDIA L4 Tensor Core GPU datasheet, rates without sparsity"),
        _nvidia(
            "rtx4090",
            _ADA,
            1.008,
            "NVIDIA Ada GPU architecture whitepaper, GeForce RTX 4090, rates without sparsity, sums in float32",
        ),
    )
}


LOCAL = "local"
"""The name of the machine at hand, which is measured: it has no record here."""


def plain_name(name: str) -> str:
    """A machine's name as records have it, of any spelling: `RTX 4090` and `rtx-4090` are `rtx4090`."""
    return "".join(c for c in name.casefold() if c not in " -_")


def machine(name: str) -> Machine:
    """The record of that name, in any spelling. Raises `UserError`, with the nearest name and all, if there is none."""
    plain = plain_name(name)
    if plain in MACHINES:
        return MACHINES[plain]
    known = [*MACHINES, LOCAL]
    near = difflib.get_close_matches(plain, known, 1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UserError(f"there is no machine '{name}': {hint}known are {', '.join(known)}")
