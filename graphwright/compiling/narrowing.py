"""Computing in the narrower type that was asked for, where a backend has the instructions for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphwright.compiling.targets import backend_options, find_backend

if TYPE_CHECKING:
    from graphwright.compiling.compiler import Options
    from graphwright.passes import Pass


def narrowing_passes(options: Options) -> Sequence[Pass]:
    """The lossy passes after which what is left in floats is computed in `options.dtype`; none where it is not.

    They go behind quantization.
    """
    if options.dtype is None:
        return ()
    from graphwright.frontend import compute_dtype
    from graphwright.ir.torch_types import torch_dtype
    from graphwright.ir.types import DType
    from graphwright.passes.quantization import ComputeInBF16

    if compute_dtype(options.dtype) is not torch_dtype(DType.BF16):
        return ()
    backend = find_backend(options.backend)
    chosen = backend.for_target(backend_options(backend, options.backend_options), options.target)
    return (ComputeInBF16(),) if backend.multiplies_bf16(chosen) else ()
