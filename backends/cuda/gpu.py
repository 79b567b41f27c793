"""The architectures that code is made for, and what their kernels may use."""

from __future__ import annotations

from dataclasses import dataclass

from graphwright.ir.errors import UserError


@dataclass(frozen=True)
class Gpu:
    """One architecture. `number` is its compute capability, 90 for 9.0, or 0: the emulator, without machine code."""

    name: str
    number: int
    shared_bytes: int
    """Of a block of threads, at most."""
    multiprocessors: int
    bytes_per_second: float
    """Of memory: this and the number of multiprocessors are those of the card that choices are made for."""

    @property
    def emulated(self) -> bool:
        return self.number == 0

    @property
    def starts_early(self) -> bool:
        """Whether a kernel may be started before the one before it has ended: programmatic dependent launch."""
        return self.number >= 90


EMULATED = Gpu("emulated", 0, 1 << 30, 1, 1e9)
"""One multiprocessor, which one program keeps busy: there is no reason to divide work."""

_CARDS = {
    # KiB of shared memory, multiprocessors, TB/s
    80: (163, 108, 2.039),  # A100 80 GB SXM
    86: (99, 82, 0.936),  # GeForce RTX 3090
    89: (99, 128, 1.008),  # GeForce RTX 4090
    90: (227, 132, 3.35),  # H100 SXM
    100: (227, 148, 8.0),  # B200
    103: (227, 160, 8.0),  # B300
    120: (99, 170, 1.792),  # GeForce RTX 5090
}
GPUS = {
    f"sm_{number}": Gpu(f"sm_{number}", number, kib << 10, count, rate * 1e12)
    for number, (kib, count, rate) in _CARDS.items()
}
"""By name. KiB of shared memory: CUDA C++ Programming Guide, technical specifications per compute capability; cards:
NVIDIA's datasheets and architecture whitepapers."""


def find_gpus(names: str) -> list[Gpu]:
    """The architectures of names joined by commas, each once, without the emulator, for which there always is code.

    `sm_90a` is `sm_90`: from there on Triton's code is for one architecture and no other. Raises `UserError`.
    """
    found: dict[str, Gpu] = {}
    for name in (each.strip() for each in names.split(",")):
        gpu = GPUS.get(name) or GPUS.get(name.removesuffix("a"))
        if name == EMULATED.name:
            continue
        if gpu is None or (name != gpu.name and gpu.number < 90):
            known = ", ".join((*GPUS, EMULATED.name))
            raise UserError(f"there is no architecture '{name}' to compile for: there are {known}")
        found[gpu.name] = gpu
    return [*found.values()]
