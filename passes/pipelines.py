"""The named pipelines, as a table of contents. Order matters; the comments say why where it is not plain."""

from __future__ import annotations

from graphwright.passes.absorb_projections import AbsorbProjections
from graphwright.passes.base import Pass
from graphwright.passes.canonicalize import Canonicalize
from graphwright.passes.convert_dtype import ConvertDType
from graphwright.passes.fuse_activations import FuseActivations, FuseGLU
from graphwright.passes.fuse_norms import FuseNorms
from graphwright.passes.insert_kv_cache import InsertKVCache
from graphwright.passes.pack_projections import PackProjections
from graphwright.passes.quantization.restore_quantized import RestoreQuantized
from graphwright.passes.raise_attention import RaiseAttention, UngroupQueries
from graphwright.passes.raise_heads import RaiseHeads
from graphwright.passes.raise_masks import RaiseMasks
from graphwright.passes.raise_recurrence import RaiseRecurrence
from graphwright.passes.raise_rotary import RaiseRotary
from graphwright.passes.select_logits import SelectLogits
from graphwright.passes.specialize import Specialize
from graphwright.passes.split_context import SplitContext
from graphwright.passes.unfold_heads import UnfoldHeads

RAISE: tuple[Pass, ...] = (
    Canonicalize(),
    FuseActivations(),  # before attention: scores may be soft-capped
    FuseNorms(),
    UnfoldHeads(),
    Canonicalize(),
    RaiseAttention(),
    Canonicalize(),  # keys lose the transpose of the product; norms go behind the transposes of heads
    RaiseHeads(),
    UngroupQueries(),
    RaiseRecurrence(),
    RaiseMasks(),
    RaiseRotary(),
    FuseGLU(),
    Canonicalize(),
)

CACHE: tuple[Pass, ...] = (
    AbsorbProjections(),
    Canonicalize(),
    InsertKVCache(),
    SelectLogits(),
    PackProjections(),  # late: every pass before sees projections one by one
    Canonicalize(),
    Specialize(),
    RestoreQuantized(),  # last: every pass before sees floats
)

PIPELINES: dict[str, tuple[Pass, ...]] = {
    "raise": RAISE,
    "default": (SplitContext(), *RAISE, *CACHE),
    "cpu": (ConvertDType(to="f32"), SplitContext(), *RAISE, *CACHE),
    "function": (ConvertDType(to="f32"), *RAISE, PackProjections(), Canonicalize(), RestoreQuantized()),
}
"""raise: meaning without a cache. default: generation, in the checkpoint's type. cpu: the same, computed in float32.
function: a plain call without a cache, computed in float32. Backends lower further."""
