"""What makes machine code of kernels: Triton, and the ptxas of its package; and what drivers run their code.

All code is made by one ptxas. Triton's package has two, and takes for sm_90 on the newer one, whose code only the
newest drivers load; the older one knows all architectures that there are here.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from graphwright.ir.errors import UnsupportedError

PTXAS_VARIABLE = "TRITON_PTXAS_PATH"
"""Triton's own variable for another ptxas."""

LEAST_DRIVERS = {(12, 8): 570, (12, 9): 575, (13, 0): 580, (13, 1): 590}
"""By the version of CUDA, the first branch of Linux drivers that has all of it: CUDA Toolkit release notes, table "CUDA
Toolkit and Corresponding Driver Versions". Later versions are not in it: their ptxas is refused."""

NVRTC_CUDA, NVRTC_DRIVER = 13000, 580
"""What runs code of NVRTC 13: within a major version newer minor ones need no newer driver (CUDA Compatibility)."""


@dataclass(frozen=True)
class Toolchain:
    """`cuda` is the version that a driver must have, as `cuDriverGetVersion` tells it: 12090 for 12.9."""

    triton: str
    ptxas: str
    cuda: int
    driver: int
    path: Path
    nvrtc: str
    """The version of the library that compiles CUDA C; empty without it."""

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of a process in which Triton compiles: what else is set there must not change code."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
        return {**kept, PTXAS_VARIABLE: str(self.path), "TRITON_PTXAS_BLACKWELL_PATH": str(self.path)}


def toolchain() -> Toolchain:
    """The toolchain of this environment. Raises `UnsupportedError` for a ptxas that cannot be used."""
    return _toolchain(os.environ.get(PTXAS_VARIABLE, ""))


def triton_tool(name: str) -> Path:
    """A program of Triton's package: `ptxas`, `nvdisasm`, `cuobjdump`."""
    spec = find_spec("triton")
    assert spec is not None, "the backend says what is missing"
    assert spec.origin is not None, "Triton is a package with a file"
    return Path(spec.origin).parent / "backends/nvidia/bin" / name


@cache
def _toolchain(named: str) -> Toolchain:
    path = Path(named) if named else triton_tool("ptxas")
    try:
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UnsupportedError(f"ptxas does not start: {error}") from None
    found = re.search(r"release (\d+)\.(\d+), V([\d.]+)", done.stdout)
    if found is None:
        raise UnsupportedError(f"{path} does not say which version of ptxas it is")
    major, minor = int(found[1]), int(found[2])
    if (major, minor) not in LEAST_DRIVERS:
        known = ", ".join(f"{a}.{b}" for a, b in LEAST_DRIVERS)
        raise UnsupportedError(
            f"{path} is of CUDA {major}.{minor}, whose least driver is not known: take one of {known}"
        )
    least = LEAST_DRIVERS[major, minor]
    return Toolchain(version("triton"), found[3], 1000 * major + 10 * minor, least, path, _nvrtc())


def _nvrtc() -> str:
    try:
        return version("nvidia-cuda-nvrtc")
    except PackageNotFoundError:
        return ""
