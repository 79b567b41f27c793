"""All that is known of the transformers library: its models' configurations, classes, weights and calls."""

import inspect
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import torch

from graphwright.frontend.errors import CheckpointError
from graphwright.frontend.hugging_face_experts import prepare_experts
from graphwright.ir import UnsupportedError, UserError
from graphwright.ir.attributes import Attribute
from graphwright.ir.convention import (
    ARCHITECTURE,
    ATTENTION_MASK,
    BOS_TOKEN_IDS,
    CONTEXT_WINDOW,
    DECODER_START_TOKEN_ID,
    EOS_TOKEN_IDS,
    PAD_TOKEN_ID,
    PARAMETERS,
    VOCABULARY_SIZE,
)


def library() -> Any:
    """transformers, imported when a checkpoint asks for it."""
    try:
        import transformers
    except ImportError:
        raise UserError(
            "capturing a checkpoint directory needs transformers: "
            "in the clone of Graphwright, run `pip install -e '.[hf]'`"
        ) from None
    return transformers


# -- configuration and class


def class_named(name: str) -> Any:
    """What transformers has under this name, or None. Raises `UserError` where loading it fails."""
    try:
        return getattr(library(), name, None)
    except UserError:
        raise
    except Exception as problem:
        reason = " ".join(str(problem).split())
        raise UserError(f"transformers cannot load {name} here: {reason}; mend what is installed beside it") from None


def read_config(directory: Path, settings: Mapping[str, Any]) -> Any:
    """The configuration object, of a model type known to transformers: code that comes with a checkpoint is not run."""
    transformers = library()
    file = directory / "config.json"
    kind = settings.get("model_type")
    if not isinstance(kind, str):
        raise CheckpointError(f"{file}: 'model_type' is missing")
    if kind not in transformers.CONFIG_MAPPING:
        problem = f"model type '{kind}' is not known to transformers {transformers.__version__}"
        if "auto_map" in settings:
            raise UnsupportedError(
                f"{file}: {problem}; it needs code from the checkpoint (auto_map), which is never run; "
                "load it in Python with trust_remote_code=True and pass the module"
            )
        raise UnsupportedError(f"{file}: {problem}")
    try:
        return transformers.CONFIG_MAPPING[kind].from_dict(_with_special_floats(dict(settings)))
    except Exception as problem:
        raise CheckpointError(f"{file}: not a configuration of '{kind}': {' '.join(str(problem).split())}") from None


def _with_special_floats(value: Any) -> Any:
    """Settings with the numbers that JSON lacks, which transformers writes as {"__float__": "Infinity"}."""
    if isinstance(value, Mapping):
        items = cast("Mapping[str, Any]", value)
        if list(items) == ["__float__"]:
            return float(items["__float__"])
        return {key: _with_special_floats(item) for key, item in items.items()}
    if isinstance(value, list):
        return [_with_special_floats(item) for item in cast("list[Any]", value)]
    return value


def causal_model_class(config: Any, directory: Path) -> Any:
    transformers = library()
    if type(config) not in transformers.MODEL_FOR_CAUSAL_LM_MAPPING:
        file = directory / "config.json"
        raise UnsupportedError(f"{file}: transformers has no causal language model of type '{config.model_type}'")
    return transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]


# -- weights


def float32_weights(model: Any, names: Iterable[str]) -> set[str]:
    """The parameters that the model keeps in float32 when it is loaded in fewer bits."""
    plan = model._get_dtype_plan(model.dtype)
    if not plan:
        return set()
    pattern: Any = import_module("transformers.core_model_loading").build_glob_alternation(list(plan))[0]
    return {name for name in names if pattern.search(name)}


def ignorable_weights(model: Any) -> list[str]:
    """Patterns of tensors in the files that the model does without."""
    return [
        *(model._keys_to_ignore_on_load_unexpected or ()),
        # Buffers that old versions of transformers stored and new ones compute.
        *(rf"(^|\.){name}$" for name in ("rotary_emb.inv_freq", "position_ids") if _has_buffer(model, name)),
    ]


def optional_weights(model: Any) -> list[str]:
    """Patterns of the model's tensors that files may lack, because its class computes them."""
    return [
        *(model._keys_to_ignore_on_load_missing or ()),
        # Buffers that old versions of transformers computed and did not store; the last counts batches of training.
        r"(^|\.)(rotary_emb\.inv_freq|position_ids|num_batches_tracked)$",
    ]


def _has_buffer(model: torch.nn.Module, name: str) -> bool:
    return any(buffer.endswith(name) for buffer, _ in model.named_buffers())


# -- calls


def is_pretrained(module: torch.nn.Module) -> bool:
    """Whether the module is a transformers model; nothing of transformers is imported to find out."""
    # Where this was never imported there is no such model. To ask transformers for the class would import it, and with
    # it what is installed beside it, which may be broken.
    loaded = sys.modules.get("transformers.modeling_utils")
    return loaded is not None and isinstance(module, loaded.PreTrainedModel)


def prepare(model: Any) -> None:
    """Sets a model up for tracing: no cache, and attention and experts as one operator where the model can have it."""
    model.config.use_cache = False
    model.set_attn_implementation("sdpa" if model._supports_sdpa else "eager")
    prepare_experts(model)


def calling_convention(model: torch.nn.Module) -> Callable[..., Any]:
    """The call from token ids alone.

    An all-ones mask is passed along: without one, transformers searches the positions for packed sequences.
    """
    parameters = inspect.signature(model.forward).parameters
    masked = ATTENTION_MASK in parameters
    options = {"use_cache": False} if "use_cache" in parameters else {}

    def call(model: torch.nn.Module, input_ids: torch.Tensor) -> Any:
        mask = {ATTENTION_MASK: torch.ones_like(input_ids)} if masked else {}
        return model(input_ids=input_ids, **mask, **options)

    return call


def call_with(model: Any, names: Sequence[str]) -> Callable[..., Any]:
    """The call with the inputs of these names, without a cache."""
    model.config.use_cache = False
    options = {"use_cache": False} if "use_cache" in inspect.signature(model.forward).parameters else {}

    def call(model: torch.nn.Module, *inputs: torch.Tensor) -> Any:
        return model(**dict(zip(names, inputs, strict=True)), **options)

    return call


# -- facts


def metadata(model: Any, generation: Mapping[str, Any] | None = None) -> dict[str, Attribute]:
    """Facts about a model for backend and runtime. `generation` holds settings other than the model's own."""
    config = model.config.get_text_config()
    own: Any = getattr(model, "generation_config", None)
    settings: Mapping[str, Any] = generation if generation is not None else {} if own is None else own.to_dict()
    facts: dict[str, Attribute] = {
        ARCHITECTURE: type(model).__name__,
        PARAMETERS: sum(p.numel() for p in model.parameters()),
        VOCABULARY_SIZE: config.vocab_size,
    }
    length = context_length(model.config)
    if length is not None:
        facts[CONTEXT_WINDOW] = length
    facts[BOS_TOKEN_IDS] = _token_ids(config, settings, "bos_token_id")
    facts[EOS_TOKEN_IDS] = _token_ids(config, settings, "eos_token_id")
    padding = _token_ids(config, settings, "pad_token_id")
    if padding:
        facts[PAD_TOKEN_ID] = padding[0]
    if reads_context(model):
        # The library falls back to the first token in the same way.
        names = ("decoder_start_token_id", "bos_token_id")
        start = next((found for name in names if (found := _token_ids(config, settings, name))), ())
        if start:
            facts[DECODER_START_TOKEN_ID] = start[0]
    return facts


def generation_settings(model: object) -> dict[str, Any] | None:
    """What a model of the library generates with, as its file would say it; None for any other module."""
    if not (isinstance(model, torch.nn.Module) and is_pretrained(model)):
        return None
    own: Any = getattr(model, "generation_config", None)
    if own is None:
        return None
    settings: dict[str, Any] = json.loads(own.to_json_string(use_diff=True))
    biases: Any = own.sequence_bias
    if isinstance(biases, Mapping):
        # Sequences cannot be keys in a file.
        pairs = cast("Mapping[tuple[int, ...], float]", biases).items()
        settings["sequence_bias"] = [[list(sequence), bias] for sequence, bias in pairs]
    return settings


def context_length(config: Any) -> int | None:
    """The longest context that a configuration names, in tokens."""
    config = config.get_text_config()
    # Where a configuration has both, the first is the decoder's.
    lengths = [getattr(config, name, None) for name in ("max_target_positions", "max_position_embeddings")]
    return next((length for length in lengths if isinstance(length, int)), None)


def reads_context(model: Any) -> bool:
    """Whether a model continues tokens beside what its encoder makes of something else."""
    return bool(model.config.is_encoder_decoder and model.can_generate())


def _token_ids(config: Any, generation: Mapping[str, Any], name: str) -> tuple[int, ...]:
    value: Any = generation.get(name)
    if value is None:
        value = getattr(config, name, None)
    listed = cast("list[Any]", [] if value is None else value if isinstance(value, (list, tuple)) else [value])
    if not all(isinstance(item, int) for item in listed):
        raise CheckpointError(f"generation setting '{name}' is {value!r}: expected a token id or a list of them")
    return tuple(listed)
