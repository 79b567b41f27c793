"""LoRA on parameters that are no layer's weight: fused experts, as `target_parameters` names them.

A module whose parameters are wrapped is wrapped once for each, in the order in which it has them: the tensors of the
last are called PATH.lora_A, of the one before PATH.base_layer.lora_A. For a parameter of E experts, A is [E * r, in]
and B [out, r * E], the experts before the ranks in A and after them in B.

Source: github.com/huggingface/peft, src/peft/tuners/lora/layer.py (ParamWrapper).
"""

from graphwright.frontend.adapters.files import Adapter, LowRank
from graphwright.frontend.adapters.low_rank import added, cast, permuted, product, reshaped, wide
from graphwright.frontend.adapters.places import Places, Values
from graphwright.ir import UnsupportedError, WeightError

WRAPPED = ".base_layer"


def merge_parameters(adapter: Adapter, places: Places, values: Values) -> dict[str, str]:
    """Adds the products to parameters, and returns their names by the adapter's paths."""
    if not adapter.settings.target_parameters:
        return {}
    wrappers: dict[str, list[str]] = {}
    for path in sorted(adapter.low_rank, key=len, reverse=True):  # the innermost first
        owner = path
        while owner.endswith(WRAPPED):
            owner = owner.removesuffix(WRAPPED)
        wrappers.setdefault(owner, []).append(path)
    merged: dict[str, str] = {}
    for owner, paths in wrappers.items():
        names = [name for name in places.weights if name.rpartition(".")[0] == owner and _is_target(adapter, name)]
        if not names and len(paths) == 1:
            continue
        if len(names) != len(paths):
            raise WeightError(
                f"{adapter.file}: there are tensors of {len(paths)} parameters of '{owner}', "
                f"and 'target_parameters' names {', '.join(names) or 'none'} of the base"
            )
        for path, name in zip(paths, names, strict=True):
            _merge(adapter, adapter.low_rank[path], name, places, values)
            merged[path] = name
    return merged


def _is_target(adapter: Adapter, name: str) -> bool:
    targets = adapter.settings.target_parameters or ()
    return any(name == target or name.endswith(f".{target}") for target in targets)


def _merge(adapter: Adapter, each: LowRank, name: str, places: Places, values: Values) -> None:
    settings, lengths, dtype = adapter.settings, places.lengths(name), places.dtype(name)
    if each.is_embedding or len(each.parts) > 2 or len(lengths) not in (2, 3):
        raise UnsupportedError(f"{adapter.file}: parameter '{name}', {list(lengths)}, has more than lora_A and lora_B")
    by_columns = len(lengths) == 3 and bool(getattr(places.module(name), "is_transposed", False))
    experts = lengths[0] if len(lengths) == 3 else 1
    outputs, inputs = (lengths[-1], lengths[-2]) if by_columns else (lengths[-2], lengths[-1])
    rank = settings.rank(name)
    a, b = each["A"], each["B"]
    found = [tuple(d.constant for d in x.type.shape) for x in (a, b)]
    weight = values.get(name)
    if weight is None or found != [(rank * experts, inputs), (outputs, rank * experts)]:
        raise WeightError(
            f"{adapter.file}: '{each.path}' has A {a.type} and B {b.type}, which do not fit '{name}' {list(lengths)} "
            f"with the rank {rank}"
        )
    scaling = settings.scaling(name)
    if experts == 1 and len(lengths) == 2:
        change = product(a, b, scaling, wide(dtype))
    else:
        of_experts = permuted(reshaped(b, outputs, rank, experts), 2, 0, 1)
        change = product(reshaped(a, experts, rank, inputs), of_experts, scaling, wide(dtype))
    if by_columns:
        change = permuted(change, 0, 2, 1)
    # Unlike a layer's, the change itself is rounded before it is added.
    values.change(name, added(weight, cast(change, dtype), dtype), alone=True)
