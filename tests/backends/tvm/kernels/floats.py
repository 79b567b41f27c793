"""What tests of float kernels share: calls with torch tensors, packed weights, and how far float32 sums may be off."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.library.layouts import packed_floats
from graphwright.backends.tvm.tvm_library import tvm
from graphwright.ir.weights import StoredArray
from tests.backends.tvm.kernels.standalone import compiled

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def function(kernel: Any, cpu: Cpu) -> Callable[..., None]:
    """The kernel as a function of torch tensors, which it writes in place."""
    compiled_kernel = compiled(kernel, cpu)

    def call(*tensors: Tensor) -> None:
        compiled_kernel(*map(tvm.runtime.from_dlpack, tensors))

    return call


def packed(weight: Tensor) -> Tensor:
    return packed_floats(StoredArray.of(weight)).evaluate().contiguous()


def rounding_bound(magnitudes: Tensor, terms: int) -> Tensor:
    """How far a float32 sum of `terms` products can be off, in any order; `magnitudes` sums their absolute values.

    Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1."""
    each = terms * 2.0**-24
    return magnitudes * (each / (1 - each))
