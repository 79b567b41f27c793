"""The settings that a model generates with: of a checkpoint's files, or of a module; checked before the work."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from graphwright.errors import UsageError
from graphwright.runtime.errors import ArtifactError
from graphwright.runtime.files import SETTINGS, read_text
from graphwright.runtime.settings import GENERATION_FILE, ModelSettings, fields, read_settings
from graphwright.sources.models import CONFIG_FILE, Source

if TYPE_CHECKING:
    from graphwright.ir import Program


_INNER_CONFIGS = ("decoder", "generator", "text_config")
"""Where the configuration of a composed model keeps that of its language model."""


@dataclass(frozen=True)
class GenerationSettings:
    """Settings, and the text to write into the artifact where the checkpoint's own file does not say as much."""

    settings: ModelSettings
    text: str | None

    def check(self, program: Program) -> None:
        """Hold them against a captured language model, and give notice of what is left out. Raises UsageError."""
        from graphwright.ir.convention import vocabulary_size
        from graphwright.ir.notices import notify

        size = vocabulary_size(program)
        if size is not None:
            try:
                self.settings.check_vocabulary(size)
            except ArtifactError as error:
                raise UsageError(str(error)) from None
        for notice in self.settings.notices:
            notify(notice)


def read_generation_settings(source: Source, assets: Path | None) -> GenerationSettings | None:
    """What transformers would generate with, None where nothing is said. Raises UsageError for what is refused.

    That is a folder's own file, or, of old checkpoints, its configuration; or a module's `generation_config`.
    """
    try:
        if assets is not None:
            found = _of_folder(assets)
            if found is not None:
                return found
        settings = _of_module(source.model)
        return None if not settings else _given(settings, f"the generation_config of {source.name}")
    except ArtifactError as error:
        raise UsageError(str(error)) from None


def check_special_tokens(program: Program) -> None:
    """Raises UsageError where a language model begins or ends with tokens that it does not have.

    Padding is never looked at, so that one outside the vocabulary is only left out.
    """
    from graphwright.ir.convention import (
        BOS_TOKEN_IDS,
        DECODER_START_TOKEN_ID,
        EOS_TOKEN_IDS,
        PAD_TOKEN_ID,
        vocabulary_size,
    )
    from graphwright.ir.notices import notify

    size = vocabulary_size(program)
    if size is None:
        return
    for name in (BOS_TOKEN_IDS, EOS_TOKEN_IDS, DECODER_START_TOKEN_ID, PAD_TOKEN_ID):
        known = program.metadata.get(name)
        for token in known if isinstance(known, tuple) else (known,):
            if not isinstance(token, int) or 0 <= token < size:
                continue
            place = f"'{program.name}': {name.removesuffix('s')}"
            outside = f"the token id {token}, outside the vocabulary (0 to {size - 1})"
            if name != PAD_TOKEN_ID:
                raise UsageError(f"{place} is {outside}: mend {GENERATION_FILE} or {CONFIG_FILE}")
            notify(f"{place} is {outside}; it is left out")
            del program.metadata[name]


def _of_folder(folder: Path) -> GenerationSettings | None:
    file = folder / GENERATION_FILE
    configuration = _object(folder / CONFIG_FILE)
    if file.exists():
        text = _text(file)
        settings = read_settings(text, str(file))
        forced = configuration.get("forced_decoder_ids")
        if not forced or settings.speech is None or settings.speech.forced_decoder_ids is not None:
            return GenerationSettings(settings, None)
        # transformers' Whisper looks for these in both files.
        return _given({**json.loads(text), "forced_decoder_ids": forced}, str(file))
    derived = _of_configuration(configuration)
    return _given(derived, str(folder / CONFIG_FILE)) if derived else None


def _of_configuration(configuration: dict[str, Any]) -> dict[str, Any]:
    """The settings among a model's configuration, where transformers looks for them when they have no file."""
    found = (configuration[name] for name in _INNER_CONFIGS if isinstance(configuration.get(name), dict))
    inner: dict[str, Any] = next(found, dict[str, Any]())
    merged: dict[str, Any] = {**inner, **{name: value for name, value in configuration.items() if value is not None}}
    wanted = (fields.HONOURED - {*fields.SPECIAL_TOKENS, *fields.SPEECH_OPTIONS}) | {*fields.NOTICED, *fields.REFUSED}
    return {name: merged[name] for name in sorted(wanted) if merged.get(name) is not None}


def _of_module(model: object) -> dict[str, Any] | None:
    from graphwright.frontend.hugging_face import generation_settings

    return generation_settings(model)


def _given(settings: dict[str, Any], place: str) -> GenerationSettings:
    text = json.dumps(settings, indent=2) + "\n"
    return GenerationSettings(read_settings(text, place), text)


def _object(file: Path) -> dict[str, Any]:
    """The object in a file; nothing where there is none, which the capture of the model complains about."""
    try:
        content = json.loads(read_text(file, SETTINGS))
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def _text(file: Path) -> str:
    try:
        return read_text(file, SETTINGS)
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not UTF-8 text") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
