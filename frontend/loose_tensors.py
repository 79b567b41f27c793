"""Where files and model do not meet: names that wrappers led, tensors without a place, weights that no file has."""

import copy
import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from graphwright.frontend import hugging_face
from graphwright.frontend.errors import CheckpointError
from graphwright.ir import StoredArray, StoredFile, WeightError, notify

WRAPPERS = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
"""What `torch.compile`, FSDP and activation checkpoints put into the names of the modules that they wrap."""

DATA_PARALLEL = "module"
"""What `DataParallel` puts in front of all names."""

PARTS = re.compile(
    r"\.(lora_(A|B|embedding_A|embedding_B|magnitude_vector)(\..+)?|base_layer\.\w+"
    r"|qweight|qzeros|g_idx|scales|weight_(packed|scale|scale_inv|shape|zero_point|global_scale|g_idx)"
    r"|(input|activation|output|q|k|v|kv)_(scale|zero_point|global_scale)|weight_scale_2|pre_quant_scale|SCB|weight\.(absmax|quant_map|nested_absmax|quant_state\.\w+))$"
)
"""Tensors that change what another one stands for: those of adapters and of quantized layers."""

SHOWN = 3
"""How many names a message has."""


def without_wrappers(stored: Mapping[str, StoredFile]) -> dict[str, StoredFile]:
    """The tensors by the names that they had before training wrapped the model.

    Raises `CheckpointError` where two of them then have one name.
    """
    wrapped = all(key.split(".")[0] in (DATA_PARALLEL, *WRAPPERS) for key in stored)
    plain: dict[str, StoredFile] = {}
    for key, tensor in stored.items():
        parts = [part for part in key.split(".") if part not in WRAPPERS]
        name = ".".join(parts[1:] if wrapped and parts[0] == DATA_PARALLEL else parts)
        if name in plain:
            raise CheckpointError(f"{tensor.path}: tensors '{plain[name].key}' and '{key}' are both '{name}'")
        plain[name] = tensor
    return plain


def leave_out(model: Any, strangers: Mapping[str, StoredFile]) -> None:
    """A notice of tensors, by the names that they would have, that have no place in the model.

    Raises `WeightError` where the model would compute something else without one: a part of a quantized layer or an
    adapter, or a bias, other than zero, of a layer that has none.
    """
    left = {name: w for name, w in strangers.items() if not _is_known(model, w.key)}
    kind = type(model).__name__
    owners = {name.rpartition(".")[0] for name, _ in model.named_parameters(remove_duplicate=False)}
    for name, weight in left.items():
        if PARTS.search(weight.key):
            raise WeightError(
                f"{weight.path}: tensor '{weight.key}' has no place in {kind}: it is part of a quantized layer or an "
                f"adapter, and no settings say how to read it"
            )
        owner, _, last = name.rpartition(".")
        if last == "bias" and owner in owners and bool(weight.evaluate().any()):
            raise WeightError(
                f"{weight.path}: tensor '{weight.key}' has no place in {kind}, whose '{owner}' adds no bias; "
                f"does config.json belong to these weights?"
            )
    if left:
        path = next(iter(left.values())).path
        keys = [weight.key for weight in left.values()]
        more = ", …" if len(keys) > SHOWN else ""
        count = "a tensor that has" if len(keys) == 1 else f"{len(keys)} tensors that have"
        notify(f"{path}: left out {count} no place in {kind}: {', '.join(keys[:SHOWN])}{more}")


def _is_known(model: Any, key: str) -> bool:
    return any(re.search(pattern, key) for pattern in hugging_face.ignorable_weights(model))


def computed(model: Any, names: Iterable[str], tensor: torch.Tensor) -> StoredArray | None:
    """The value of a weight of these names that the files leave out because the model's class computes it, or None.

    A buffer counts where the class says that files may lack it; a parameter, such as a table of sinusoids, where the
    class initializes it to the same numbers whatever the seed.
    """
    optional = any(re.search(p, name) for p in hugging_face.optional_weights(model) for name in names)
    if not isinstance(tensor, torch.nn.Parameter):
        return StoredArray.of(tensor.detach()) if optional and not tensor.is_meta else None
    owner, _, attribute = next(iter(names)).rpartition(".")
    module = model.get_submodule(owner)
    if type(module).__module__.startswith("torch."):
        return None
    first, second = (_initialized(model, module, attribute, seed) for seed in (0, 1))
    if first is None or second is None or not torch.equal(first, second):
        return None
    constant = bool((first == first.flatten()[:1]).all())
    return None if constant and not optional else StoredArray.of(first)


def _initialized(model: Any, module: torch.nn.Module, attribute: str, seed: int) -> torch.Tensor | None:
    """What the class's own initialization makes of a parameter whose memory held no numbers."""
    fresh = copy.deepcopy(module)
    for name, parameter in module.named_parameters(recurse=False):
        empty = torch.full(parameter.shape, float("nan"), dtype=parameter.dtype)
        setattr(fresh, name, torch.nn.Parameter(empty, requires_grad=False))
    with torch.random.fork_rng(devices=()):  # pyright: ignore[reportUnknownMemberType] - untyped
        torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType] - untyped
        try:
            model._init_weights(fresh)
        except Exception:
            return None
    value: torch.Tensor = getattr(fresh, attribute).detach()
    return None if bool(value.isnan().any()) else value
