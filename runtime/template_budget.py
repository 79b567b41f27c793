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
_WIDE_PERCENT = re.compile(r"%(?:\([^)]*\))?[-#0 +]*(?:\*|\d{5,}|\d*\.(?:\*|\d{5,}))")
_WIDE_BRACES = re.compile(r"\{[^{}]*(?:\{|:[^{}]*\d{5,})")

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
    elif operator == "%" and isinstance(left, str):
        check_percent_format(left, right)


def check_method(owner: Any, name: str, arguments: list[Any]) -> None:
    """Before a method of a text or number is called. Raises BudgetError when the result would be too large."""
    if name == "replace" and isinstance(owner, str):
        check_replace(owner, arguments)
    elif name == "expandtabs":
        check_amplified(owner.count("\t" if isinstance(owner, str) else b"\t") * _factor(arguments))
    elif name in ("center", "ljust", "rjust", "zfill", "to_bytes"):
        check_amplified(_factor(arguments))
    elif name in ("join", "translate", "replace"):
        check_amplified((weight(owner) + 1) * _factor(arguments))


def check_filter(name: str, arguments: list[Any]) -> None:
    """Before a filter runs on `arguments`. Raises BudgetError when the result would be too large."""
    if name == "replace" and len(arguments) > 2:
        check_replace(str(arguments[0]), arguments[1:])
    elif name == "format" and arguments:
        check_percent_format(str(arguments[0]), arguments[1:])
    elif name in ("batch", "center", "indent", "join", "round", "slice", "tojson", "urlize", "wordwrap"):
        check_amplified((weight(arguments[:1]) + 1) * _factor(arguments[1:]))


def check_replace(text: str, arguments: list[Any]) -> None:
    """Before occurrences of `arguments[0]` in `text` become `arguments[1]`."""
    if len(arguments) > 1:
        old, new = str(arguments[0]), str(arguments[1])
        check_amplified(text.count(old) * weight(new))


def check_percent_format(text: str, values: Any) -> None:
    """Before `text % values`."""
    if _WIDE_PERCENT.search(text):
        raise BudgetError("it formats a text with a width that is too large")
    check_amplified(text.count("%") * (10_000 + weight(values)))


def check_brace_format(text: str, values: Any) -> None:
    """Before `text.format(values)`."""
    plain = text.replace("{{", "").replace("}}", "")
    if _WIDE_BRACES.search(plain):
        raise BudgetError("it formats a text with a width that is too large")
    check_amplified(plain.count("{") * (10_000 + weight(values)))


def check_value(total: int) -> None:
    """Raises BudgetError for the weight of a value that is too large."""
    if total > VALUE_LIMIT:
        raise BudgetError("it makes a text or list that is too large")


def check_amplified(total: int) -> None:
    """Raises BudgetError for the weight of a result that is not there yet."""
    if total > AMPLIFIED_LIMIT:
        raise BudgetError("it makes a text or list that is too large")


def _factor(arguments: list[Any]) -> int:
    """How much longer a text may get by arguments that are widths, or are put between its parts."""
    return 1 + sum(abs(each) if isinstance(each, int) else weight(each) for each in arguments)


def _check_integer(value: int) -> None:
    if value.bit_length() > INTEGER_BITS:
        raise BudgetError("it computes a number that is too large")
