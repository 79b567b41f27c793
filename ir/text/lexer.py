"""Splits IR text into tokens that know their line and column."""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphwright.ir.errors import TextError

_TOKEN = re.compile(
    r"""
    (?P<space>[ \t\r]+|//[^\n]*)
  | (?P<newline>\n)
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<value>[%@](?:[\w.]+|"(?:[^"\\\n]|\\.)*"))
  | (?P<number>-?(?:\d+\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+|(?:inf|nan)(?![\w.])))
  | (?P<integer>\d+)
  | (?P<name>[A-Za-z_][\w.]*)
  | (?P<mark>[(){}\[\]<>,:=+*-])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    kind: str
    text: str
    start: int


class Lexer:
    """The tokens of a text, one ahead. `file` names the source in messages."""

    def __init__(self, text: str, file: str = "<text>") -> None:
        self.text = text
        self.file = file
        self._tokens = self._split()
        self._position = 0

    def _split(self) -> list[Token]:
        tokens: list[Token] = []
        position = 0
        match_at = _TOKEN.match
        while position < len(self.text):
            match = match_at(self.text, position)
            if match is None:
                character = self.text[position]
                problem = "unterminated string" if character == '"' else f"unexpected character {character!r}"
                raise self.error(problem, position)
            kind = match.lastgroup or ""
            if kind not in ("space", "newline"):
                tokens.append(Token(kind, match[0], position))
            position = match.end()
        tokens.append(Token("end", "the end of the text", len(self.text)))
        return tokens

    def error(self, message: str, position: int | None = None) -> TextError:
        start = self.peek.start if position is None else position
        line = self.text.count("\n", 0, start) + 1
        column = start - (self.text.rfind("\n", 0, start) + 1) + 1
        return TextError(message, line, column, self.file)

    @property
    def peek(self) -> Token:
        return self._tokens[self._position]

    def next(self) -> Token:
        token = self._tokens[self._position]
        self._position = min(self._position + 1, len(self._tokens) - 1)
        return token

    def accept(self, text: str) -> bool:
        """Whether the next token is this mark or word; consumes it if so."""
        if self.peek.text == text and self.peek.kind in ("mark", "name"):
            self.next()
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.error(f"expected '{text}', found {self.describe()}")

    def expect_kind(self, kind: str, what: str) -> str:
        if self.peek.kind != kind:
            raise self.error(f"expected {what}, found {self.describe()}")
        return self.next().text

    def describe(self) -> str:
        return self.peek.text if self.peek.kind == "end" else f"'{self.peek.text}'"


_ESCAPES = {"n": "\n", "r": "\r"}


def unquote(text: str) -> str:
    """The string that a quoted token stands for."""
    body = text[1:-1]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), body)
