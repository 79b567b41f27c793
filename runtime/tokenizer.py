"""Text to token ids and back, as `tokenizer.json` says."""

import json
import os
import sys
import tempfile
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import Any

import tokenizers

from graphwright.runtime.errors import ArtifactError, GenerationError, UserError
from graphwright.runtime.prompts import check_unicode

_SAMPLE = "Once upon a time, 42 “ünïcode” words: 你好 😀\n\tx  = f(y);"
_standard_error = threading.Lock()


class Tokenizer:
    """The tokenizer that `text`, the content of the file `place`, describes; safe to use from several threads.

    Raises ArtifactError when the text describes none, or one that fails within the library on any text.
    """

    def __init__(self, text: str, place: str) -> None:
        with library_errors(ArtifactError, f"{place} is not a tokenizer"), without_report_of_panics():
            self._tokenizer = tokenizers.Tokenizer.from_str(text)
            # A checkpoint may carry the settings of its training run; a prompt must be neither cut nor padded.
            self._tokenizer.no_truncation()
            self._tokenizer.no_padding()
            self._try()
        self._place = place

    def encode(self, text: str, *, special_tokens: bool) -> list[int]:
        """Ids of `text`; `special_tokens` adds those that the tokenizer puts around a text, such as BOS.

        Raises GenerationError for a text that is no Unicode, or that the tokenizer cannot take.
        """
        check_unicode(text, "the text")
        with library_errors(GenerationError, f"{self._place} cannot take the text"):
            return self._tokenizer.encode(text, add_special_tokens=special_tokens).ids

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of `token_ids` without special tokens; invalid UTF-8 reads as U+FFFD."""
        with library_errors(GenerationError, f"{self._place} cannot give the text of a token"):
            return self._tokenizer.decode(token_ids, skip_special_tokens=True)

    def is_silent(self, token_id: int) -> bool:
        """Whether decoding leaves the token out: special tokens, and ids that the tokenizer does not know."""
        return token_id in self._special or self._tokenizer.id_to_token(token_id) is None

    def special_text(self, token_id: int) -> str:
        """What a special token, which decoding leaves out, is called; empty for any other."""
        return self._special.get(token_id, "")

    def special_in(self, text: str) -> bool:
        """Whether the name of a special token is part of `text`."""
        return any(name in text for name in self._special.values() if name)

    def is_byte(self, token_id: int) -> bool:
        """Whether the token stands for one byte, decoded together with the byte tokens around it."""
        return token_id in self._byte_ids

    def _try(self) -> None:
        """A panic on a simple text is a fault of the file, better found now than with the first prompt."""
        # To have neither these characters nor an unknown token is none.
        with suppress(Exception):
            self._tokenizer.decode(self._tokenizer.encode(_SAMPLE, add_special_tokens=True).ids)

    @cached_property
    def _special(self) -> dict[int, str]:
        added = self._tokenizer.get_added_tokens_decoder()
        return {token_id: token.content for token_id, token in added.items() if token.special}

    @cached_property
    def _byte_ids(self) -> frozenset[int]:
        decoder: dict[str, Any] = json.loads(self._tokenizer.to_str())["decoder"] or {}
        steps: list[dict[str, Any]] = decoder.get("decoders", [decoder])
        if not any(step.get("type") == "ByteFallback" for step in steps):
            return frozenset()
        ids = (self._tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
        return frozenset(token_id for token_id in ids if token_id is not None)


@contextmanager
def library_errors(kind: type[UserError], what: str) -> Generator[None]:
    """The library raises bare Exception, and panics, which are not even that."""
    try:
        yield
    except BaseException as error:
        if not isinstance(error, Exception) and not _is_panic(error):
            raise
        raise kind(f"{what}: {error}") from None


def _is_panic(error: BaseException) -> bool:
    # The class belongs to the library's Rust and cannot be imported.
    return type(error).__name__ == "PanicException"


@contextmanager
def without_report_of_panics() -> Generator[None]:
    """Drops what the library's Rust prints on file descriptor 2 about a panic, maybe with a backtrace.

    What anyone else writes there meanwhile appears when the body is over, unless it panicked. Not for each prompt: the
    descriptor is the process's, so threads would wait for each other.
    """
    with _standard_error, tempfile.TemporaryFile() as kept:
        if sys.stderr is not None:  # pyright: ignore[reportUnnecessaryComparison] - None when it was closed
            sys.stderr.flush()
        try:
            real = os.dup(2)
        except OSError:  # it is closed, so nothing is printed
            yield
            return
        os.dup2(kept.fileno(), 2)
        panicked = False
        try:
            yield
        except BaseException as error:
            panicked = _is_panic(error)
            raise
        finally:
            os.dup2(real, 2)
            os.close(real)
            kept.seek(0)
            written = b"" if panicked else kept.read()
            if written:
                os.write(2, written)
