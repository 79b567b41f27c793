"""Libraries of small functions, compiled by TVM in the test itself."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PAGE = 4096
"""Bytes at the beginning of every workspace that are zero when it is new."""


def script() -> Any:
    """TVM's language of scripts. Skips the test where nothing can be compiled."""
    pytest.importorskip("tvm", reason="TVM is not installed: pip install -e '.[tvm]'")
    if not any(map(shutil.which, ("g++", "gcc", "clang++", "clang", "c++", "cc"))):
        pytest.skip("there is no C compiler, with which TVM links libraries: apt-get install -y gcc")
    from graphwright.backends.tvm.tvm_library import T

    return T


def export(functions: dict[str, Any], path: Path) -> None:
    """Compile scripts to a library in which they have these names."""
    from graphwright.backends.tvm.tvm_library import tvm

    module = tvm.IRModule({name: function.with_attr("global_symbol", name) for name, function in functions.items()})
    tvm.tirx.build(module, target="llvm", pipeline="s_tir").export_library(str(path))


def weights_blob(weights: Sequence[np.ndarray[Any, Any]]) -> bytes:
    """The numbers one after another."""
    return b"".join(np.ascontiguousarray(weight).tobytes() for weight in weights)
