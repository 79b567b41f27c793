"""What `adapter_config.json` says of an adapter, and which of it stands for something else than a merge of weights.

Source: github.com/huggingface/peft, src/peft/tuners/lora/config.py (LoraConfig), utils/other.py (get_pattern_key).
"""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, field_validator

from graphwright.frontend.errors import CheckpointError
from graphwright.ir import UnsupportedError
from graphwright.runtime.validation import first_finding

OTHER_VARIANTS = {
    "alora_invocation_tokens": "activated LoRA, which changes the weights from some token on, so they cannot be merged",
    "arrow_config": "Arrow, which chooses among adapters at every token, so they cannot be merged",
    "kasa_config": "KaSA, which was trained on truncated base weights",
    "layer_replication": "replicated layers, which are another model than the base",
    "megatron_config": "layers of Megatron",
    "monteclora_config": "Monteclora",
    "use_bdlora": "block-diagonal LoRA",
    "use_qalora": "QALoRA, which adapts a quantized base",
}
"""Settings of a LoraConfig that ask for more than a product of two matrices."""

WITHOUT_EFFECT = frozenset(
    {
        *("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision", "task_type"),
        *("corda_config", "eva_config", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core"),
        *("qalora_group_size", "runtime_config", "target_modules", "velora_config", "bias"),
        *("unsloth_fixed", "unsloth_version"),
    }
)
"""Settings of training, or that the tensors say themselves."""

PLAIN_STARTS = ("gaussian", "eva", "orthogonal", "mica", "kaiming")
"""How A and B may have been initialized without a change to the base's weights."""

CHANGED_BASES = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initializations that take what A and B start with out of the base's weights."""

PATTERN_LENGTH = 256
UNBOUNDED = 3

Number = Annotated[float, Field(allow_inf_nan=False)]


class Settings(BaseModel):
    """A LoraConfig, as far as it bears on merged weights."""

    model_config = ConfigDict(frozen=True, extra="allow")
    peft_type: Literal["LORA"]
    r: PositiveInt = 8
    lora_alpha: Number = 8
    use_rslora: bool = False
    use_dora: bool = False
    lora_bias: bool = False
    fan_in_fan_out: bool = False
    ensure_weight_tying: bool = False
    rank_pattern: dict[str, PositiveInt] = {}
    alpha_pattern: dict[str, Number] = {}
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None
    target_parameters: list[str] | None = None
    modules_to_save: list[str] | None = None
    trainable_token_indices: list[int] | dict[str, list[int]] | None = None
    init_lora_weights: bool | str | None = True
    base_model_name_or_path: str | None = None
    task_type: str | None = None

    @field_validator("rank_pattern", "alpha_pattern", mode="before")
    @classmethod
    def _none_is_empty(cls, value: object) -> object:
        return {} if value is None else value

    @field_validator("rank_pattern", "alpha_pattern")
    @classmethod
    def _patterns(cls, value: dict[str, Any]) -> dict[str, Any]:
        for pattern in value:
            _check_pattern(pattern)
        return value

    def rank(self, path: str) -> int:
        """The rank of the matrices at a module's path."""
        return self.rank_pattern.get(_matching(self.rank_pattern, path), self.r)

    def scaling(self, path: str) -> float:
        """The factor of the product B A at a module's path."""
        rank = self.rank(path)
        alpha = self.alpha_pattern.get(_matching(self.alpha_pattern, path), self.lora_alpha)
        return alpha / math.sqrt(rank) if self.use_rslora else alpha / rank

    def is_saved(self, name: str) -> bool:
        """Whether a weight is of a module that `modules_to_save` lists: such a module is a copy, tied to nothing."""
        owner = name.rpartition(".")[0].split(".")
        paths = [".".join(owner[:end]) for end in range(1, len(owner) + 1)]
        return any(path.endswith(module) for path in paths for module in self.modules_to_save or ())


def read_settings(file: Path, content: Mapping[str, Any]) -> Settings:
    """The settings in `file`. Raises `CheckpointError` for what is none, `UnsupportedError` for what is not merged."""
    method = content.get("peft_type")
    if not isinstance(method, str):
        raise CheckpointError(f"{file}: 'peft_type' is missing: it names the method of the adapter")
    if method != "LORA":
        raise UnsupportedError(f"{file}: the adapter is of the method {method[:40]!r}; only LORA is merged")
    for setting, what in OTHER_VARIANTS.items():
        if content.get(setting):
            raise UnsupportedError(f"{file}: '{setting}': the adapter uses {what}")
    try:
        settings = Settings.model_validate(content)
    except ValidationError as problem:
        raise CheckpointError(f"{file}: {first_finding(problem, Settings)}") from None
    unknown = {name for name, value in (settings.model_extra or {}).items() if value} - WITHOUT_EFFECT
    if unknown:
        raise UnsupportedError(
            f"{file}: the setting '{min(unknown)[:60]}' is not known, so whether it changes the weights is not either: "
            "take it out if it does not"
        )
    _check_start(file, settings.init_lora_weights)
    return settings


def _check_start(file: Path, start: bool | str | None) -> None:
    """Raises `UnsupportedError` where A and B are to be added to other weights than the base's."""
    if not isinstance(start, str) or start.lower() in PLAIN_STARTS:
        return
    if start.lower().startswith(CHANGED_BASES):
        raise UnsupportedError(
            f"{file}: 'init_lora_weights' is {start[:40]!r}, so the adapter belongs to base weights that this has "
            "changed: save it converted (save_pretrained with path_initial_model_for_weight_conversion)"
        )
    raise UnsupportedError(f"{file}: 'init_lora_weights' is {start[:40]!r}, which is not known")


def _matching(patterns: Mapping[str, object], path: str) -> str:
    """The first pattern that is the path or its end; the path itself if there is none."""
    return next((p for p in patterns if re.match(rf"(.*\.)?({p})$", path)), path)


def _check_pattern(pattern: str) -> None:
    """Raises ValueError for what is not a regular expression, or one that may take long on a path.

    A repeated group can take exponential time, and each repetition multiplies the time by the length of the path.
    """
    repeats: Sequence[str] = re.findall(r"[*+{]", pattern)
    if len(pattern) > PATTERN_LENGTH or len(repeats) > UNBOUNDED or re.search(r"\)[*+{]", pattern):
        raise ValueError(f"the pattern {pattern[:60]!r} is too intricate: write the modules' names out")
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as problem:
        raise ValueError(f"{pattern[:60]!r} is not a regular expression: {problem}") from None
