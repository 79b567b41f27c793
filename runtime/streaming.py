"""Text as it is generated: whole characters only, and never a part of a stop string."""

from collections.abc import Iterator, Sequence
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

    def held(self) -> str:
        """What `finish` would return now; nothing is released."""
        if self._released == len(self._tokens):
            return ""
        text, before = self._decode_from_anchor()
        return text[_common_length(before, text) :]

    def _release(self, *, final: bool) -> str:
        text, before = self._decode_from_anchor()
        if text.endswith(_REPLACEMENT) and not final:
            return ""
        # A context that ends inside a character decodes to U+FFFD there, until the continuation completes it.
        piece = text[_common_length(before, text) :]
        self._move_anchor(text)
        return piece

    def _decode_from_anchor(self) -> tuple[str, str]:
        """The text since the anchor, and the part of it that was released."""
        if self._before is None:
            self._before = self._tokenizer.decode(self._tokens[self._anchor : self._released])
        return self._tokenizer.decode(self._tokens[self._anchor :]), self._before

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

    So the cut does not depend on how the text was split into pieces. Special tokens are no part of the text, but a stop
    string may name them: those in `marked` are also looked for in the text with the name of every special token where
    it stood.
    """

    def __init__(self, stops: Sequence[str], marked: Sequence[str] = ()) -> None:
        self._stops = stops
        self._marked = marked
        # What is held back, character by character, each with whether it is text, or of a special token's name.
        self._held: list[tuple[str, bool]] = []
        # Special tokens that stand in text still to come, each with the text that came before it when it was pushed.
        self._expected: list[tuple[str, str]] = []
        self.found = False

    def push(self, text: str) -> str:
        """Take more text and return what can no longer be part of a stop string."""
        if not self._stops:
            return text
        later = [(after, name) for after, name in self._expected if len(after) > len(text) and after.startswith(text)]
        self._expected = [one for one in self._expected if one not in later]
        self._held += self._with_expected(text)
        self._expected = [(after[len(text) :], name) for after, name in later]
        return self._ready()

    def push_special(self, name: str, after: str) -> str:
        """Take a special token that stands behind `after`, all text that is not pushed yet since it may still change.

        Returns text as `push` does; of `after` only where it ends with a stop string, and then it is not to be pushed.
        """
        if not self._marked:
            return ""
        cells = [*self._held, *self._with_expected(after), *_hidden(name)]
        if after and self._find(cells) is None:
            self._expected.append((after, name))
            return ""
        self._held, self._expected = cells, []
        return self._ready()

    def _with_expected(self, text: str) -> list[tuple[str, bool]]:
        """`text` with the expected special tokens in it: each before the first character that changed after it."""
        cells: list[tuple[str, bool]] = []
        done = 0
        for after, name in self._expected:
            place = max(done, _common_length(after, text))
            cells += [*_shown(text[done:place]), *_hidden(name)]
            done = place
        return cells + _shown(text[done:])

    def finish(self) -> str:
        """The text still held back."""
        ready, self._held = _text(self._held), []
        return ready

    def _ready(self) -> str:
        start = self._find(self._held)
        self.found = start is not None
        cut = self._begun() if start is None else start
        ready, self._held = _text(self._held[:cut]), self._held[cut:]
        if self.found:
            self._held = []
        return ready

    def _find(self, cells: list[tuple[str, bool]]) -> int | None:
        """The place in `cells` of the stop string that ends first, None if there is none."""
        found: list[tuple[int, int]] = []
        for stops, text, places in self._streams(cells):
            starts = [(start, len(stop)) for stop in stops if (start := text.find(stop)) >= 0]
            found += [(places[start + length - 1], places[start]) for start, length in starts]
        return min(found)[1] if found else None

    def _begun(self) -> int:
        """Where the longest end of what is held begins that begins a stop string."""
        cut = len(self._held)
        for stops, text, places in self._streams(self._held):
            longest = min(len(text), max((len(stop) - 1 for stop in stops), default=0))
            lengths = (n for n in range(longest, 0, -1) if any(stop.startswith(text[-n:]) for stop in stops))
            cut = min(cut, next((places[-n] for n in lengths), cut))
        return cut

    def _streams(self, cells: list[tuple[str, bool]]) -> Iterator[tuple[Sequence[str], str, Sequence[int]]]:
        """What to look for, the text to look in, and the place in `cells` of each of its characters."""
        shown = [index for index, (_, is_text) in enumerate(cells) if is_text]
        yield self._stops, _text(cells), shown
        yield self._marked, "".join(character for character, _ in cells), range(len(cells))


def _shown(text: str) -> list[tuple[str, bool]]:
    return [(character, True) for character in text]


def _hidden(name: str) -> list[tuple[str, bool]]:
    return [(character, False) for character in name]


def _text(cells: list[tuple[str, bool]]) -> str:
    return "".join(character for character, is_text in cells if is_text)
