"""The named pipelines, as a table of contents. Order matters; the comments say why where it is not plain.

Passes are also given as text: `canonicalize,insert-kv-cache{layout=ring,window=4096}` is read into pass objects.
"""

import difflib
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, get_type_hints

from graphwright.ir import PassError
from graphwright.ir.attributes import normalize
from graphwright.ir.targets import Target
from graphwright.passes.base import REGISTRY, Pass, option_fields, target_fields
from graphwright.passes.kv_cache.absorb_projections import AbsorbProjections
from graphwright.passes.kv_cache.insert_kv_cache import InsertKVCache
from graphwright.passes.kv_cache.select_logits import SelectLogits
from graphwright.passes.kv_cache.specialize import Specialize
from graphwright.passes.kv_cache.split_context import SplitContext
from graphwright.passes.quantization.restore_quantized import RestoreQuantized
from graphwright.passes.raising.activations import FuseActivations, FuseGLU
from graphwright.passes.raising.attention import RaiseAttention, UngroupQueries
from graphwright.passes.raising.heads import RaiseHeads
from graphwright.passes.raising.masks import RaiseMasks
from graphwright.passes.raising.norms import FuseNorms
from graphwright.passes.raising.recurrence import RaiseRecurrence
from graphwright.passes.raising.rotary import RaiseRotary
from graphwright.passes.raising.unfold_heads import UnfoldHeads
from graphwright.passes.simplifying.canonicalize import Canonicalize
from graphwright.passes.simplifying.convert_dtype import ConvertDType
from graphwright.passes.simplifying.pack_projections import PackProjections

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

_PASS = re.compile(r"\s*([A-Za-z0-9_-]+)\s*(?:\{([^{}]*)\})?\s*(,|$)")


def parse_passes(text: str, targets: Mapping[str, Target] = MappingProxyType({})) -> list[Pass]:
    """The passes that a comma-separated list names, options in braces. Raises `PassError` with the nearest name.

    `targets` are those of passes that lower for the kernels of one, by name.
    """
    passes: list[Pass] = []
    position = 0
    while position < len(text.rstrip()):
        match = _PASS.match(text, position)
        if match is None:
            raise PassError(
                f"'{text[position:].strip()}' is not a pass: write name or name{{option=value}}, joined by commas"
            )
        passes.append(_make(match[1], match[2] or "", targets))
        position = match.end()
    if not passes:
        raise PassError("no passes given")
    return passes


def named_pipeline(name: str, pipelines: Mapping[str, Sequence[Pass]] = PIPELINES) -> Sequence[Pass]:
    """The one of that name, by default of those that are for all backends. Raises `PassError` with the nearest name."""
    if name not in pipelines:
        raise PassError(f"there is no pipeline '{name}'{_nearest(name, pipelines)}")
    return pipelines[name]


def _nearest(name: str, names: Any) -> str:
    near = difflib.get_close_matches(name, list(names), 1, cutoff=0.5)
    return f": did you mean '{near[0]}'?" if near else f"; there are {', '.join(names)}"


def _make(name: str, body: str, targets: Mapping[str, Target]) -> Pass:
    if name not in REGISTRY:
        raise PassError(f"there is no pass '{name}'{_nearest(name, REGISTRY)}")
    cls = REGISTRY[name]
    hints = get_type_hints(cls)
    known = [f.name for f in option_fields(cls)]
    options: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in body.split(","))):
        key, equals, value = (p.strip() for p in item.partition("="))
        if key not in known:
            hint = _nearest(key, known) if known else "; it takes none"
            raise PassError(f"pass {name} has no option '{key}'{hint}")
        if not equals:
            raise PassError(f"pass {name}: option '{key}' needs a value: {key}=…")
        try:
            options[key] = normalize(_value(value), hints[key])
        except TypeError as wanted:
            raise PassError(f"pass {name}: option {key}={value} is not {wanted}") from None
    for field, target in target_fields(cls).items():
        if target not in targets:
            raise PassError(f"pass {name} lowers for the kernels of '{target}', and none are given")
        options[field] = targets[target]
    return cls(**options)


def _value(text: str) -> bool | int | float | str:
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text.strip('"')
