"""Splits IR text into tokens that know their line and column.

All the numbers of a list of eight or more are one token, `numbers`: the elements of a weight may be a million.
"""

import re
from typing import NamedTuple

from graphwright.ir.errors import TextError

_NUMBER = r"-?(?:\d+\.\d*(?:e[+-]?\d+)?|\d+e[+-]?\d+|(?:inf|nan)(?![\w.]))"

_TOKEN = re.compile(
    rf"""
  (?>(?:[ \t\r\n]|//[^\n]*)*)
  (?:
    (?P<numbers>(?<=\[)(?>{_NUMBER}(?:,[ ]{_NUMBER}){{7,}})(?=\]))
  | (?P<string>"(?:[^"\\\n]|\\.)*")
  | (?P<value>[%@](?:[\w.]+|"(?:[^"\\\n]|\\.)*"))
  | (?P<number>{_NUMBER})
  | (?P<integer>\d+)
  | (?P<name>[A-Za-z_][\w.]*)
  | (?P<mark>[(){{}}\[\]<>,:=+*-])
  | (?P<end>\Z)
  | (?P<other>.)
  )
    """,
    re.VERBOSE,
)


class Token(NamedTuple):
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
        for match in _TOKEN.finditer(self.text):
            kind = match.lastgroup or ""
            text = match[kind]
            if kind == "other":
                problem = "unterminated string" if text == '"' else f"unexpected character {text!r}"
                raise self.error(problem, match.start(kind))
            if kind == "end":
                break
            tokens.append(Token(kind, text, match.start(kind)))
        tokens.append(Token("end", "the end of the text", len(self.text)))
        return tokens

    def error(self, message: str, position: int | None = None) -> TextError:
        start = self.peek.start if position is None else position
        line = self.text.count("\n", 0, start) + 1
        column = start - (self.text.rfind("\n", 0, start) + 1) + 1
        return TextError(_one_line(message), line, column, self.file)

    @property
    def peek(self) -> Token:
        return self._tokens[self._position]

    def next(self) -> Token:
        token = self._tokens[self._position]
        self._position = min(self._position + 1, len(self._tokens) - 1)
        return token

    def accept(self, text: str) -> bool:
        """Whether the next token is this mark or word; consumes it if so."""
        token = self._tokens[self._position]
        if token.text == text and token.kind in ("mark", "name"):
            self._position += 1
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
        kind, text, _ = self.peek
        return text if kind == "end" else f"'{text.partition(',')[0] if kind == 'numbers' else text}'"


LONGEST_MESSAGE = 600
"""Characters. A message quotes the text, which may be one long word."""


def _one_line(message: str) -> str:
    """A message without line breaks and other control characters, shortened."""
    kept = message if len(message) <= LONGEST_MESSAGE else f"{message[: LONGEST_MESSAGE - 1]}…"
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in kept)


_ESCAPES = {"n": "\n", "r": "\r"}


def unquote(text: str) -> str:
    """The string that a quoted token stands for."""
    body = text[1:-1]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[1]), body)
