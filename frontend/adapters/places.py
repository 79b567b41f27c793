"""Where in a model an adapter's paths and names lie: it was trained on modules that may be called otherwise by now."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import torch

from graphwright.frontend import hugging_face
from graphwright.frontend.dimensions import element_type
from graphwright.ir import DType
from graphwright.ir.weights import WeightExpression

CONVOLUTIONS = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)


class Places:
    """The weights of a model by their names in an adapter, and which of them are one."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.weights: Mapping[str, torch.Tensor] = model.state_dict(keep_vars=True)
        self._wide = hugging_face.float32_weights(model, self.weights)
        loading: Any = import_module("transformers.core_model_loading")
        mapping: Any = import_module("transformers.conversion_mapping").get_model_conversion_mapping(model)
        self._renamings = [entry for entry in mapping if isinstance(entry, loading.WeightRenaming)]
        self._converters = [entry for entry in mapping if isinstance(entry, loading.WeightConverter)]
        self._rename: Any = loading.rename_source_key

    def name(self, key: str) -> str | None:
        """The model's name of the weight that an adapter calls `key`; None where the model has no such weight."""
        if key in self.weights:
            return key
        prefix = self.model.base_model_prefix
        name, pattern = self._rename(key, self._renamings, self._converters, prefix, self.weights)
        return name if pattern is None and name in self.weights else None

    def module(self, name: str) -> torch.nn.Module:
        """The module that has the weight of that name."""
        return self.model.get_submodule(name.rpartition(".")[0])

    def lengths(self, name: str) -> tuple[int, ...]:
        return tuple(self.weights[name].shape)

    def dtype(self, name: str) -> DType:
        """The element type that the weight has in the model."""
        return DType.F32 if name in self._wide else element_type(self.weights[name])


class Values:
    """Weights by name while an adapter changes them. Tied names have one value until one of them is changed alone."""

    def __init__(self, stored: Mapping[str, WeightExpression], tied: Iterable[Sequence[str]]) -> None:
        self.stored = dict(stored)
        self._tied = {name: list(names) for names in tied for name in names}

    def siblings(self, name: str) -> list[str]:
        """The other names of the same weight."""
        return [other for other in self._tied.get(name, ()) if other != name]

    def get(self, name: str) -> WeightExpression | None:
        """The value of a name; None where the files have none."""
        return next((self.stored[n] for n in (name, *self.siblings(name)) if n in self.stored), None)

    def change(
        self, name: str, value: WeightExpression, *, alone: bool, except_for: Collection[str | None] = ()
    ) -> None:
        """Gives a name another value: it alone, or the names tied to it too, but for some."""
        for other in self.siblings(name):
            if alone or other in except_for:
                kept = self.get(other)
                if kept is not None:
                    self.stored[other] = kept
            else:
                self.stored[other] = value
        self.stored[name] = value
