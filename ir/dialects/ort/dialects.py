"""The dialects by name, and the releases of ONNX Runtime that there is a table for."""

from dataclasses import replace

from graphwright.ir.dialects.ort.capabilities import ORT, PORTABLE
from graphwright.ir.dialects.ort.cuda_capabilities import ORT_CUDA
from graphwright.ir.errors import UserError
from graphwright.ir.targets import Target

TARGETS: dict[str, Target] = {target.name: target for target in (ORT, ORT_CUDA, PORTABLE)}
RELEASES: dict[str, tuple[str, ...]] = {"ort": ("1.31", "1.32"), "ort-cuda": ("1.31",), "portable": ()}
"""Of ONNX Runtime, those that a dialect can be compiled for."""


def select_target(dialect: str, release: str = "") -> Target:
    """The table of a dialect by its name, for a release of ONNX Runtime, by default the one that it was read off.

    Raises `UserError` for another name, and for a release that is not known.
    """
    if dialect not in TARGETS:
        raise UserError(f"dialect is '{dialect}'; it must be one of {', '.join(TARGETS)}")
    target = TARGETS[dialect]
    if not release:
        return target
    if release not in RELEASES[dialect]:
        known = " or ".join(RELEASES[dialect]) or "none, as it is for any runtime"
        raise UserError(f"dialect '{dialect}' has no form for ONNX Runtime {release}: there is {known}")
    return replace(target, release=tuple(map(int, release.split("."))))
