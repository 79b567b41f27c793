"""The machine that is measured on: what it is, and the rates that it reaches in plain copies and products."""

from __future__ import annotations

import importlib.metadata
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime

REPEATS = 5


def described(device: str) -> dict[str, str]:
    """Hardware, versions and date."""
    known = {"date": datetime.now(UTC).strftime("%Y-%m-%d"), "python": platform.python_version(), "device": device}
    for package in ("torch", "triton", "transformers", "cuda-bindings", "numpy"):
        try:
            known[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            known[package] = "not installed"
    if device == "gpu":
        import torch

        known["device"] = torch.cuda.get_device_name()
        known["cuda"] = str(torch.version.cuda)
    return known


def measured_rates() -> dict[str, float]:
    """Bytes a second of a copy of 2 GiB, read and written, and FLOPs a second of a bf16 product of 8192 cubed."""
    import torch

    source = torch.empty(1 << 30, dtype=torch.bfloat16, device="cuda")
    target = torch.empty_like(source)
    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))

    def best(work: Callable[[], object]) -> float:
        times: list[float] = []
        for _ in range(1 + REPEATS):
            torch.cuda.synchronize()
            began = time.perf_counter()
            work()
            torch.cuda.synchronize()
            times.append(time.perf_counter() - began)
        return min(times[1:])

    moved = 2 * source.numel() * source.element_size()
    return {
        "copy": moved / best(lambda: target.copy_(source)),
        "product": 2 * 8192.0**3 / best(lambda: a @ b),
    }
