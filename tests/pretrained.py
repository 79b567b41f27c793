"""Methods of transformers whose own annotations leave a type open, with the type said."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any, cast

import transformers

if TYPE_CHECKING:
    from torch.nn import Module
    from transformers import PreTrainedModel


def save_pretrained(model: Module, folder: str | PathLike[str], **options: Any) -> None:
    cast(Any, model).save_pretrained(folder, **options)


def language_model(folder: str | PathLike[str], **options: Any) -> PreTrainedModel:
    """What `AutoModelForCausalLM` makes of a checkpoint, not in training."""
    return cast(Any, transformers.AutoModelForCausalLM).from_pretrained(folder, **options).eval()


def tokenizer(folder: str | PathLike[str]) -> Any:
    """What `AutoTokenizer` makes of a checkpoint: a class of its own, of which callers know what it takes."""
    return cast(Any, transformers.AutoTokenizer).from_pretrained(folder)
