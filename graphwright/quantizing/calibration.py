"""Calibration tokens: from a text, from a file of token ids, or written by the model itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graphwright.errors import OptionError, UsageError
from graphwright.evaluating.interpreter_language import (
    FREE_CONTEXT,
    InterpreterLanguageModel,
    metadata_tokens,
    sample_rows,
)
from graphwright.ir.convention import BOS_TOKEN_IDS
from graphwright.runtime.token_rows import cut_rows, read_stream, start_token
from graphwright.runtime.tokenizer_file import read_tokenizer

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.runtime.token_rows import Ids, TokenSource

SELF = "self"
"""Instead of a file: the model writes its own text."""
ROWS = 32
LENGTH = 512
SEED = 0


@dataclass(frozen=True, eq=False)
class Calibration:
    """Where calibration tokens come from: a text or `.npy` file, an array, `self`, or nowhere (None).

    By default there are 32 rows of 512 tokens, or as many as a text has, within the model's context.
    """

    source: TokenSource | None = None
    rows: int | None = None
    length: int | None = None

    def check(self) -> None:
        """Raises OptionError for numbers out of range, and for a file that is not there, before any work."""
        for name, value in (("rows", self.rows), ("length", self.length)):
            if value is not None and value < (1 if name == "rows" else 2):
                raise OptionError(f"is {value}: must be at least {1 if name == 'rows' else 2}", f"calibration_{name}")
            if value is not None and self.source is None:
                raise OptionError(f"calibration {name} are given without calibration tokens: give a file, or 'self'")
        if isinstance(self.source, (str, Path)) and self.source != SELF and not Path(self.source).is_file():
            raise OptionError(f"{self.source} is not a file: calibration is a text, a .npy of token ids, or 'self'")

    def read(self, program: Program, assets: str | Path | None) -> Ids:
        """Rows int64 [R, S] for an optimized program; `assets` is the folder with its tokenizer.

        Raises DataError, UsageError, and `PassError` for a program that takes more than token ids.
        """
        assert self.source is not None, "asked for only where there is a source"
        language = InterpreterLanguageModel(program)
        longest = language.context_length or FREE_CONTEXT
        if self.length is not None and self.length > longest:
            raise UsageError(f"calibration rows of {self.length} tokens exceed the context of {longest}")
        length = min(LENGTH, longest) if self.length is None else self.length
        if isinstance(self.source, str) and self.source == SELF:
            return sample_rows(language, self.rows or ROWS, length, SEED)
        tokenizer = read_tokenizer(assets)
        stream = read_stream(self.source, tokenizer, language.vocabulary_size)
        start = start_token(tokenizer, tuple(metadata_tokens(program, BOS_TOKEN_IDS)))
        rows = cut_rows(stream, length=length, rows=self.rows or ROWS, exact=self.length is not None, start=start)
        if self.rows is not None and len(rows) < self.rows:
            found = f"{len(rows)} rows of {rows.shape[1]} tokens, of {self.rows} asked for"
            raise UsageError(f"{stream.name} is too short for calibration: it has {found}")
        return rows


def write_tokens(tokens: Ids, folder: Path) -> Path:
    """The tokens as a file in the folder, as passes read them. Raises UsageError."""
    path = folder / "calibration.npy"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        np.save(path, tokens)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from None
    return path
