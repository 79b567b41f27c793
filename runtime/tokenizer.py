"""Text to token ids and back, as `tokenizer.json` says."""

import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import tokenizers

from graphwright.runtime.errors import ArtifactError


class Tokenizer:
    """The tokenizer that `text`, the content of the file `place`, describes; safe to use from several threads.

    Raises ArtifactError when the text describes none.
    """

    def __init__(self, text: str, place: str) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
            # A checkpoint may carry the settings of its training run; a prompt must be neither cut nor padded.
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
        except Exception as error:  # the library raises bare Exception
            raise ArtifactError(f"{place} is not a tokenizer: {error}") from None

    def encode(self, text: str, *, special_tokens: bool) -> list[int]:
        """Ids of `text`; `special_tokens` adds those that the tokenizer puts around a text, such as BOS."""
        return self._tokenizer.encode(text, add_special_tokens=special_tokens).ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids` without special tokens; invalid UTF-8 reads as U+FFFD."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=True)

    def is_silent(self, token_id: int) -> bool:
        """Whether decoding leaves the token out: special tokens, and ids that the tokenizer does not know."""
        return token_id in self._special_ids or self._tokenizer.id_to_token(token_id) is None

    def is_byte(self, token_id: int) -> bool:
        """Whether the token stands for one byte, decoded together with the byte tokens around it."""
        return token_id in self._byte_ids

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        added = self._tokenizer.get_added_tokens_decoder()
        return frozenset(token_id for token_id, token in added.items() if token.special)

    @cached_property
    def _byte_ids(self) -> frozenset[int]:
        decoder: dict[str, Any] = json.loads(self._tokenizer.to_str())["decoder"] or {}
        steps: list[dict[str, Any]] = decoder.get("decoders", [decoder])
        if not any(step.get("type") == "ByteFallback" for step in steps):
            return frozenset()
        ids = (self._tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
        return frozenset(token_id for token_id in ids if token_id is not None)
