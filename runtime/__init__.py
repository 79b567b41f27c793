"""The runtime: artifact folders in, text out. Needs neither torch nor the compiler.

Everything is imported on first use, so that importing this package costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphwright.runtime.artifact import Artifact, ArtifactWriter, Manifest, open_artifact
    from graphwright.runtime.cache import KVCache
    from graphwright.runtime.conversation import Conversation
    from graphwright.runtime.decoder import Decoder
    from graphwright.runtime.errors import (
        ArtifactError,
        ChatTemplateError,
        ContextError,
        GenerationError,
        SessionError,
        UserError,
    )
    from graphwright.runtime.function import Function, load_function
    from graphwright.runtime.generation import Completion, TokenLogProbability
    from graphwright.runtime.model import Model, load
    from graphwright.runtime.notices import Notice
    from graphwright.runtime.options import GenerationArguments, GenerationOptions
    from graphwright.runtime.padding import unpad

__all__ = [
    "Artifact",
    "ArtifactError",
    "ArtifactWriter",
    "ChatTemplateError",
    "Completion",
    "ContextError",
    "Conversation",
    "Decoder",
    "Function",
    "GenerationArguments",
    "GenerationError",
    "GenerationOptions",
    "KVCache",
    "Manifest",
    "Model",
    "Notice",
    "SessionError",
    "TokenLogProbability",
    "UserError",
    "load",
    "load_function",
    "open_artifact",
    "unpad",
]

_HOMES = {
    "artifact": ("Artifact", "ArtifactWriter", "Manifest", "open_artifact"),
    "cache": ("KVCache",),
    "conversation": ("Conversation",),
    "decoder": ("Decoder",),
    "errors": ("ArtifactError", "ChatTemplateError", "ContextError", "GenerationError", "SessionError", "UserError"),
    "function": ("Function", "load_function"),
    "generation": ("Completion", "TokenLogProbability"),
    "model": ("Model", "load"),
    "notices": ("Notice",),
    "options": ("GenerationArguments", "GenerationOptions"),
    "padding": ("unpad",),
}
"""The files that have these names."""


def __getattr__(name: str) -> Any:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
