"""What rendering a chat template may cost: time, and the size of what it makes.

A template is code from a stranger. Jinja's sandbox keeps it from files and from Python's internals, but not from
looping for years or from asking for a string of a terabyte. Here every step that can repeat or grow asks a `Budget`
first. All of it happens in the thread that renders, so nothing is left running when a budget is spent.
"""

import re
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from string import Formatter
from typing import Any, cast

from jinja2 import TemplateRuntimeError
from jinja2.runtime import LoopContext

SECONDS = 10.0
"""Of one rendering. Published templates take a few milliseconds for a long chat."""
VALUE_LIMIT = 8 << 20
"""The weight of one value. A context of a million tokens is about 4 million characters."""
TOTAL_LIMIT = 1 << 30
"""The weight of all values made while rendering, most of which are gone again: this bounds memory."""
AMPLIFIED_LIMIT = 64 << 20
"""The weight that one step may make before it is looked at."""
SEARCH_LIMIT = 1 << 28
"""The length of a text times that of what is looked for in it: some searches of Python's take as many steps."""
FORMAT_LIMIT = 64 << 10
"""Characters of a text with places for values."""
PRECISION_LIMIT = 20
"""Digits to round to; a float has 17."""
ATTRIBUTE_LIMIT = 64
"""Characters of the names of attributes, separated by commas or dots, that a filter looks up in every item."""
INTEGER_BITS = 1 << 16
SOURCE_LIMIT = 128 << 10
"""Characters of a template's source; published ones have up to 60 thousand."""
PARTS_LIMIT = 10_000
"""Nodes of a template's tree; published ones have up to two thousand. Bounds the time that compiling takes."""

_ELEMENT = 16
_EMPTY: dict[Any, Any] = {}
_CONTAINERS: tuple[Any, ...] = (
    *(list, tuple, set, frozenset),
    *(type(_EMPTY.keys()), type(_EMPTY.values()), type(_EMPTY.items())),
)
_PERCENT = re.compile(r"[-#0 +]*(\*|[0-9]*)(?:\.(\*|[0-9]*))?[hlL]?.?", re.DOTALL)
"""What may follow a % and a name in brackets. Every part is optional, so nothing is ever tried twice."""
_BRACKETS = re.compile(r"[()]")
_WIDE_BRACES = re.compile(r"\{|\d{5}")
_WIDTH_DIGITS = 4
SEARCHES = frozenset(
    (
        *("count", "find", "index", "partition", "replace", "rfind", "rindex", "rpartition", "rsplit", "split"),
        *("strip", "lstrip", "rstrip"),
    )
)
_ENCODINGS = frozenset(("utf-8", "utf8", "ascii", "us-ascii", "latin-1", "latin1", "iso-8859-1"))
_ENCODING_ERRORS = frozenset(("strict", "ignore", "replace"))

_current: "ContextVar[Budget | None]" = ContextVar("budget", default=None)


class BudgetError(TemplateRuntimeError):
    """A template that asked for more time or memory than rendering a chat may take."""


class Budget:
    """What is left of one rendering."""

    def __init__(self) -> None:
        self._deadline = time.monotonic() + SECONDS
        self._left = TOTAL_LIMIT

    def spend(self, amount: int) -> None:
        """Take `amount` of weight. Raises BudgetError when it, or the time, is used up."""
        self._left -= amount
        if self._left < 0:
            raise BudgetError("it makes too much text")
        if time.monotonic() > self._deadline:
            raise BudgetError(f"it took more than {SECONDS:g} seconds")

    def made(self, value: Any) -> Any:
        """`value`, which a step made, paid for. An iterator is run, so that none is left that could run on."""
        if isinstance(value, Iterator) and not isinstance(value, LoopContext):
            items: list[Any] = []
            total = 0
            for item in cast("Iterator[Any]", value):
                cost = _ELEMENT + weight(item)
                total += cost
                self.spend(cost)
                check_value(total)
                items.append(item)
            return iter(items)
        total = weight(value)
        check_value(total)
        self.spend(total)
        return value


def current_budget() -> Budget:
    """The budget of the rendering at hand. Raises BudgetError outside one, as when Jinja folds constants."""
    budget = _current.get()
    if budget is None:
        raise BudgetError("nothing is rendered")
    return budget


@contextmanager
def rendering_budget() -> Generator[Budget]:
    """A fresh budget for what the body renders."""
    budget = Budget()
    token = _current.set(budget)
    try:
        yield budget
    finally:
        _current.reset(token)


def weight(value: Any) -> int:
    """About the bytes of a value with everything in it, as often as it occurs; counts no further than VALUE_LIMIT."""
    total = 0
    pending: list[Any] = [value]
    while pending and total <= VALUE_LIMIT:
        item = pending.pop()
        if isinstance(item, str):
            total += len(item) if item.isascii() else 4 * len(item)
        elif isinstance(item, bytes):
            total += len(item)
        elif isinstance(item, dict):
            mapping = cast("dict[Any, Any]", item)
            total += 2 * _ELEMENT * len(mapping)
            if total <= VALUE_LIMIT:
                pending += mapping.keys()
                pending += mapping.values()
        elif isinstance(item, _CONTAINERS):
            total += _ELEMENT * len(item)
            if total <= VALUE_LIMIT:
                pending += item
        elif isinstance(item, range):
            total += _ELEMENT * len(item)
        elif isinstance(item, int):
            _check_integer(item)
        else:
            # The iterators that `Budget.made` returns know how much is left of them.
            total += _ELEMENT * getattr(item, "__length_hint__", int)()
    return total


def check_operator(operator: str, left: Any, right: Any) -> None:
    """Before `left operator right` is computed. Raises BudgetError when the result would be too large."""
    if isinstance(left, int) and isinstance(right, int):
        _check_integer(left)
        _check_integer(right)
        bits = {"*": left.bit_length() + right.bit_length(), "**": left.bit_length() * max(right, 0)}.get(operator, 0)
        if bits > INTEGER_BITS:
            raise BudgetError("it computes a number that is too large")
    elif operator == "*":
        for sequence, count in ((left, right), (right, left)):
            if isinstance(count, int):
                check_amplified(weight(sequence) * max(count, 0))
    elif operator == "%" and isinstance(left, str | bytes):
        check_percent_format(left if isinstance(left, str) else left.decode("latin-1"), right)


def check_method(owner: Any, name: str, arguments: list[Any]) -> None:
    """Before a method of a text or number is called. Raises BudgetError when it would take or make too much."""
    if name in SEARCHES:
        check_search(owner, arguments[:1])
    if name == "replace" and isinstance(owner, str):
        check_replace(owner, arguments)
    elif name == "expandtabs":
        check_amplified(owner.count("\t" if isinstance(owner, str) else b"\t") * _factor(arguments))
    elif name in ("center", "ljust", "rjust", "zfill", "to_bytes"):
        check_amplified(_factor(arguments))
    elif name in ("join", "translate", "replace"):
        check_amplified((weight(owner) + 1) * _factor(arguments))
    elif name in ("encode", "decode"):
        _check_encoding(arguments)
    elif name in ("striptags", "unescape"):
        raise BudgetError(f"it makes use of {name}, which is slow and of no use to a chat")


def check_filter(name: str, positional: list[Any], named: dict[str, Any]) -> None:
    """Before a filter runs on such arguments, the value first. Raises BudgetError where it would be too much."""
    arguments = [*positional, *named.values()]
    if name == "replace":
        given = dict(zip(("text", "old", "new"), positional, strict=False)) | named
        text, old = str(given["text"]), str(given.get("old", ""))
        check_search(text, [old])
        check_replace(text, [old, given.get("new", "")])
    elif name == "trim":
        check_search(str(arguments[0]), arguments[1:])
    elif name == "sum":
        # A list would be lengthened in its place, even by itself; texts and tuples are copied with each item.
        start = named.get("start", positional[2] if len(positional) > 2 else 0)
        if not isinstance(start, int | float):
            raise BudgetError("it makes a sum whose start is not a number")
    elif name == "round":
        if not isinstance(arguments[0], int | float):
            raise BudgetError("it makes a round number of what is none")
        if any(isinstance(each, int) and abs(each) > PRECISION_LIMIT for each in arguments[1:]):
            raise BudgetError(f"it makes a number round to more than {PRECISION_LIMIT} digits")
    elif name in ("groupby", "max", "min", "sort", "unique"):
        if any(isinstance(each, str) and len(each) > ATTRIBUTE_LIMIT for each in arguments[1:]):
            raise BudgetError("it makes an order by too many attributes")
    elif name == "format":
        check_percent_format(str(arguments[0]), arguments[1:])
    elif name in ("batch", "center", "indent", "join", "slice", "tojson"):
        check_amplified((weight(arguments[:1]) + 1) * _factor(arguments[1:]))


def check_search(text: Any, arguments: list[Any]) -> None:
    """Before `arguments`, among them texts, are looked for in `text`."""
    longest = max((len(each) for each in arguments if isinstance(each, str | bytes)), default=1)
    if len(text) * longest > SEARCH_LIMIT:
        raise BudgetError("it makes a search that is too long")


def check_replace(text: str, arguments: list[Any]) -> None:
    """Before occurrences of `arguments[0]` in `text` become `arguments[1]`."""
    if len(arguments) > 1:
        old, new = str(arguments[0]), str(arguments[1])
        check_amplified(text.count(old) * weight(new))


def check_percent_format(text: str, values: Any) -> None:
    """Before `text % values`."""
    _check_format(text)
    check_amplified(text.count("%") * (10_000 + weight(values)))
    position = text.find("%") + 1
    while position:
        position = _after_name(text, position)
        match = _PERCENT.match(text, position)
        if position < 0 or match is None:
            return  # Python refuses a name that does not end
        for width in match.groups(""):
            if width == "*" or len(width) > _WIDTH_DIGITS:
                raise BudgetError("it formats a text with a width that is too large")
        position = text.find("%", match.end()) + 1


def check_brace_format(text: str, values: Any) -> None:
    """Before `text.format(values)`."""
    _check_format(text)
    # As Python itself takes it apart: braces may be doubled, and stand in brackets.
    fields = [specification or "" for _, name, specification, _ in Formatter().parse(text) if name is not None]
    if any(_WIDE_BRACES.search(each) for each in fields):
        raise BudgetError("it formats a text with a width that is too large")
    check_amplified(len(fields) * (10_000 + weight(values)))


def check_value(total: int) -> None:
    """Raises BudgetError for the weight of a value that is too large."""
    if total > VALUE_LIMIT:
        raise BudgetError("it makes a text or list that is too large")


def check_amplified(total: int) -> None:
    """Raises BudgetError for the weight of a result that is not there yet."""
    if total > AMPLIFIED_LIMIT:
        raise BudgetError("it makes a text or list that is too large")


def _check_format(text: str) -> None:
    if len(text) > FORMAT_LIMIT:
        raise BudgetError(f"it formats a text of more than {FORMAT_LIMIT} characters")


def _after_name(text: str, position: int) -> int:
    """Where the name in brackets ends that may stand at `position`; -1 if it does not end."""
    if not text.startswith("(", position):
        return position
    depth = 0
    for bracket in _BRACKETS.finditer(text, position):
        depth += 1 if bracket[0] == "(" else -1
        if depth == 0:
            return bracket.end()
    return -1


def _check_encoding(arguments: list[Any]) -> None:
    """That of a codec is not quadratic, as punycode is, and does not write a character as a long name."""
    known = _ENCODINGS | _ENCODING_ERRORS
    if any(str(each).lower().replace("_", "-") not in known for each in arguments):
        raise BudgetError("it makes use of an encoding other than utf-8, ascii and latin-1")


def _factor(arguments: list[Any]) -> int:
    """How much longer a text may get by arguments that are widths, or are put between its parts."""
    return 1 + sum(abs(each) if isinstance(each, int) else weight(each) for each in arguments)


def _check_integer(value: int) -> None:
    if value.bit_length() > INTEGER_BITS:
        raise BudgetError("it computes a number that is too large")
