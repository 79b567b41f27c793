"""Whether an adapter's file holds what its settings name, all of it and nothing else."""

from collections.abc import Collection
from typing import Any

import torch

from graphwright.frontend.adapters.files import Adapter
from graphwright.frontend.adapters.places import CONVOLUTIONS, Places, Values
from graphwright.ir import WeightError


def check_targets(adapter: Adapter, places: Places, values: Values, merged: Collection[str]) -> None:
    """Raises `WeightError` for a module that the settings name and the file has no tensors of, or the reverse.

    `merged` are the names of the weights that were changed. Where modules are named by a regular expression or by
    layers, the tensors alone say which they are.
    """
    settings = adapter.settings
    named = settings.target_modules
    if isinstance(named, list):
        for path in adapter.low_rank:
            if not (settings.target_parameters or settings.ensure_weight_tying or _names(named, path)):
                raise WeightError(
                    f"{adapter.file}: '{path}' is not among 'target_modules', but there are tensors of it"
                )
        if settings.layers_to_transform is None and not isinstance(settings.exclude_modules, str):
            excluded = settings.exclude_modules or []
            for path, module in places.model.named_modules():
                if _is_target(module) and _names(named, path) and not _names(excluded, path):
                    _require(adapter, values, merged, "target_modules", f"{path}.weight")
    for name in places.weights:
        if settings.is_saved(name):
            _require(adapter, values, merged, "modules_to_save", name)


def _require(adapter: Adapter, values: Values, merged: Collection[str], setting: str, name: str) -> None:
    others = values.siblings(name) if adapter.settings.ensure_weight_tying else []
    if not any(each in merged for each in (name, *others)):
        path = name.removesuffix(".weight")
        raise WeightError(f"{adapter.file}: '{path}' is among '{setting}', but there are no tensors of it")


def _names(listed: Collection[str], path: str) -> bool:
    return path in listed or any(path.endswith(f".{each}") for each in listed)


def _is_target(module: Any) -> bool:
    return isinstance(module, (torch.nn.Linear, torch.nn.Embedding, *CONVOLUTIONS)) or type(module).__name__ == "Conv1D"
