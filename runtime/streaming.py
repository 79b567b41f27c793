"""Text as it is generated: whole characters only, and never a part of a stop string."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from graphwright.runtime.tokenizer import Tokenizer

_REPLACEMENT = "\ufffd"


class IncrementalDecoder:
    """The text that new tokens add to a context, released piece by piece.

    The pieces together are exactly what decoding context and continuation at once adds to decoding the context
    alone, so a leading space that the tokenizer strips from a whole text is stripped only there. Text is held back
    while a later token may still change it: inside a character, and inside a run of byte tokens, which a tokenizer
    with byte fallback decodes as one.

    Decoding starts at an anchor a few tokens back, not at the beginning, so the cost of a token does not grow.
    """

    def __init__(self, tokenizer: "Tokenizer", context: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._tokens = [token for token in context if not tokenizer.is_silent(token)]
        self._anchor = 0
        self._released = len(self._tokens)
        self._before: str | None = None

    def push(self, token_id: int) -> str:
        """Take the next token and return the text that is now final, maybe none."""
        if self._tokenizer.is_silent(token_id):
            return ""
        self._tokens.append(token_id)
        if self._tokenizer.is_byte(token_id):
            return ""
        return self._release(final=False)

    def finish(self) -> str:
        """The text still held back; an incomplete character reads as U+FFFD."""
        return self._release(final=True)

    def _release(self, *, final: bool) -> str:
        text = self._tokenizer.decode(self._tokens[self._anchor :])
        if text.endswith(_REPLACEMENT) and not final:
            return ""
        if self._before is None:
            self._before = self._tokenizer.decode(self._tokens[self._anchor : self._released])
        # A context that ends inside a character decodes to U+FFFD there, until the continuation completes it.
        piece = text[_common_length(self._before, text) :]
        self._move_anchor(text)
        return piece

    def _move_anchor(self, text: str) -> None:
        alone = self._tokenizer.decode(self._tokens[self._released :])
        # Tokens whose text is all stripped when they lead cannot stand for the context of the next.
        if alone:
            self._anchor, self._before = self._released, alone
        else:
            self._before = text
        self._released = len(self._tokens)


def _common_length(first: str, second: str) -> int:
    if second.startswith(first):
        return len(first)
    pairs = enumerate(zip(first, second, strict=False))
    return next((index for index, (one, other) in pairs if one != other), len(second))


class StopStrings:
    """Cuts a stream of text before the stop string, of `stops`, that is the first to be complete.

    So the cut does not depend on how the text was split into pieces.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = stops
        self._held = ""
        self.found = False

    def push(self, text: str) -> str:
        """Take more text and return what can no longer be part of a stop string."""
        self._held += text
        starts = [(start + len(stop), start) for stop in self._stops if (start := self._held.find(stop)) >= 0]
        if starts:
            self.found = True
            _, start = min(starts)
            ready, self._held = self._held[:start], ""
            return ready
        cut = len(self._held) - self._partial_length()
        ready, self._held = self._held[:cut], self._held[cut:]
        return ready

    def finish(self) -> str:
        """The text still held back."""
        ready, self._held = self._held, ""
        return ready

    def _partial_length(self) -> int:
        """Length of the longest end of the held text that begins a stop string."""
        longest = min(len(self._held), max((len(stop) - 1 for stop in self._stops), default=0))
        for length in range(longest, 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
