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
    "Artifact": "artifact",
    "ArtifactError": "errors",
    "ArtifactWriter": "artifact",
    "ChatTemplateError": "errors",
    "Completion": "generation",
    "ContextError": "errors",
    "Conversation": "conversation",
    "Decoder": "decoder",
    "Function": "function",
    "GenerationArguments": "options",
    "GenerationError": "errors",
    "GenerationOptions": "options",
    "KVCache": "cache",
    "Manifest": "artifact",
    "Model": "model",
    "Notice": "notices",
    "SessionError": "errors",
    "TokenLogProbability": "generation",
    "UserError": "errors",
    "load": "model",
    "load_function": "function",
    "open_artifact": "artifact",
    "unpad": "padding",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
