"""The forms in which prompts may be given, brought to one."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from graphwright.runtime.errors import GenerationError

if TYPE_CHECKING:
    from graphwright.runtime.tokenizer import Tokenizer

Prompt = str | Sequence[int]


def split_prompts(prompts: Any) -> tuple[list[Prompt], bool]:
    """The single prompts of a batch, and whether `prompts` was one prompt rather than a list of them.

    A prompt is a text or a sequence of token ids. Raises GenerationError.
    """
    if isinstance(prompts, np.ndarray):
        prompts = cast(Any, prompts).tolist()
    if isinstance(prompts, str):
        return [prompts], True
    if not isinstance(prompts, Sequence):
        raise GenerationError(f"a prompt is a text or a list of token ids, not {type(prompts).__name__}")
    items = list(cast(Sequence[Any], prompts))
    if not items:
        raise GenerationError('there are no prompts: an empty prompt is "", a batch with one is [""]')
    if all(_is_id(item) for item in items):
        return [items], True
    for index, item in enumerate(items):
        if isinstance(item, np.ndarray):
            items[index] = cast(Any, item).tolist()
        elif not isinstance(item, Sequence):
            raise GenerationError(f"prompt {index} is a text or a list of token ids, not {type(item).__name__}")
    return items, False


def encode_text(text: str, tokenizer: "Tokenizer | None", *, special_tokens: bool, name: str) -> list[int]:
    """The token ids of `text`. Raises GenerationError when there is no tokenizer, or it cannot take the text."""
    check_unicode(text, name)
    if tokenizer is None:
        raise GenerationError(
            f"{name} is a text, but the artifact has no tokenizer.json; give token ids, or compile the model with one "
            "(--assets FOLDER)"
        )
    return tokenizer.encode(text, special_tokens=special_tokens)


def check_unicode(text: str, name: str) -> None:
    """Raises GenerationError for half a character, as bytes that are not UTF-8 arrive; calls the text `name`."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"U+{ord(text[error.start]):04X} at position {error.start}"
        raise GenerationError(f"{name} is not valid Unicode: it holds {found}; give UTF-8 text") from None


def check_ids(token_ids: Sequence[int], vocabulary_size: int, name: str) -> list[int]:
    """`token_ids` as plain integers. Raises GenerationError when one is no integer or not in the vocabulary."""
    for position, token in enumerate(token_ids):
        if not _is_id(token):
            raise GenerationError(f"{name} holds {token!r} at position {position}; token ids are integers")
        if not 0 <= token < vocabulary_size:
            raise GenerationError(
                f"{name} holds the token id {token} at position {position}, outside the vocabulary "
                f"(0 to {vocabulary_size - 1})"
            )
    return [int(token) for token in token_ids]


def _is_id(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)
