"""Libraries of small functions in C, compiled in the test itself, for the contract that artifacts' libraries obey."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from graphwright.backends.tvm.linking import find_linker, link_c
from graphwright.backends.tvm.region.plan_code import runtime_code
from graphwright.runtime.artifact.functions import STEP, WORKSPACE

PATIENCE = 2000


def export(functions: Mapping[str, tuple[str, str]], path: Path, helpers: str = "") -> None:
    """Compile functions to a library: by name the body of the step (of `given` and `threads`), and an expression for
    the bytes of workspace (of `sizes`). Skips the test where nothing can be compiled."""
    if find_linker() is None:
        pytest.skip("there is no C compiler, with which libraries are linked: apt-get install -y gcc")
    source = [runtime_code(PATIENCE), helpers]
    for name, (body, workspace) in functions.items():
        source.append(f"int32_t {STEP}{name}(const tensor *given, int32_t threads) {{\n{body}\nreturn 0;\n}}")
        source.append(f"int64_t {WORKSPACE}{name}(const int64_t *sizes) {{ return {workspace}; }}")
    link_c("\n".join(source), path)


def weights_blob(weights: Sequence[np.ndarray]) -> bytes:
    """The numbers one after another."""
    return b"".join(np.ascontiguousarray(weight).tobytes() for weight in weights)
