"""Which class a Hugging Face checkpoint names beside causal language models, and what such a model is traced with."""

import inspect
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch

from graphwright.frontend import hugging_face
from graphwright.frontend.inputs import TRACED_BATCH, TRACED_SEQUENCE
from graphwright.ir import UnsupportedError, convention

DECODER_SEQUENCE = 7
"""The decoder's length in a trace: another than the encoder's, so that each has its own symbol."""


def model_class(config: Any, settings: Mapping[str, Any], directory: Path) -> Any:
    """The class that the checkpoint was saved from; where transformers lacks it, the causal language model.

    Raises `UnsupportedError` if there is neither.
    """
    name = saved_class(settings)
    named = None if name is None else hugging_face.class_named(name)
    if inspect.isclass(named) and issubclass(named, hugging_face.class_named("PreTrainedModel")):
        return named
    return hugging_face.causal_model_class(config, directory)


def saved_class(settings: Mapping[str, Any]) -> str | None:
    """The name of the class that a checkpoint was saved from, if config.json has it."""
    names: Any = settings.get("architectures")
    name: Any = cast("list[Any]", names)[0] if isinstance(names, list) and names else None
    return name if isinstance(name, str) else None


def is_causal(model: Any) -> bool:
    """Whether the model's class is one that continues token ids."""
    # By name: the mapping itself imports every model that it lists.
    auto: Any = import_module("transformers.models.auto.modeling_auto")
    return type(model).__name__ in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def example_inputs(model: Any, place: Path | str) -> dict[str, torch.Tensor]:
    """Inputs of the shapes that the model's configuration names; `place` is what errors call the model.

    A model that continues tokens beside a context gets these two alone: without a mask the whole context counts, which
    is what the compiler limits to each row's own length. Raises `UnsupportedError` where it names none: such a model is
    captured as a module, with example inputs.
    """
    parameters = inspect.signature(model.forward).parameters
    main: str = model.main_input_name
    config = model.config
    examples: dict[str, torch.Tensor] = {}
    match main:
        case convention.INPUT_IDS:
            examples[main] = torch.zeros(TRACED_BATCH, TRACED_SEQUENCE, dtype=torch.int64)
            if convention.ATTENTION_MASK in parameters and not hugging_face.reads_context(model):
                examples[convention.ATTENTION_MASK] = torch.ones(TRACED_BATCH, TRACED_SEQUENCE, dtype=torch.int64)
        case "pixel_values":
            vision = getattr(config, "vision_config", config)
            channels: Any = getattr(vision, "num_channels", None)
            size: Any = getattr(vision, "image_size", None)
            sides = cast("list[Any]", size) if isinstance(size, list | tuple) else [size, size]
            examples[main] = _floats(model, place, main, channels, *sides)
        case "input_features":
            frames = 2 * getattr(config, "max_source_positions", 0)
            examples[main] = _floats(model, place, main, getattr(config, "num_mel_bins", None), frames)
        case _:
            raise _unknown(model, place, main)
    if getattr(config, "is_encoder_decoder", False) and convention.DECODER_INPUT_IDS in parameters:
        examples[convention.DECODER_INPUT_IDS] = torch.zeros(TRACED_BATCH, DECODER_SEQUENCE, dtype=torch.int64)
    return examples


def _floats(model: Any, place: Path | str, name: str, *sizes: Any) -> torch.Tensor:
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        raise _unknown(model, place, name)
    return torch.zeros(TRACED_BATCH, *sizes, dtype=model.dtype)


def _unknown(model: Any, place: Path | str, name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{place}: the configuration does not tell the shape of '{name}' of {type(model).__name__}; give example inputs"
    )
