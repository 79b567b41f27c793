"""The textual difference that a pass made, without what only got another number."""

import difflib
import re
from collections.abc import Iterator
from itertools import count

_NUMBER = re.compile(r"%(\d+)\b")
_RESULTS = re.compile(r"  (%\w+(?:, %\w+)*) = ")
_Place = tuple[int, str]
"""A value: its graph, counted, and its number there."""


def difference(before: str, after: str) -> str:
    """A unified diff of two programs' texts, without file names; empty if they are equal.

    Values are numbered in order, so that one op more or less renumbers all that follow. Here the values of `after` keep
    the numbers that they had in `before`, and new ones get numbers that are free.
    """
    if before == after:
        return ""
    old, new = before.splitlines(), after.splitlines()
    lines = list(difflib.unified_diff(old, _renumbered(old, new), lineterm="", n=2))
    return "\n".join(lines[2:])


def _renumbered(old: list[str], new: list[str]) -> list[str]:
    graphs = list(_graphs(new))
    numbers: dict[_Place, str] = {}
    matcher = difflib.SequenceMatcher(None, list(map(_masked, old)), list(map(_masked, new)), autojunk=False)
    for i, j, size in matcher.get_matching_blocks():
        for k in range(size):
            for known, value in zip(_results(old[i + k]), _results(new[j + k]), strict=True):
                numbers[graphs[j + k], value] = known
    free = map(str, count(1 + max((int(n) for line in old for n in _results(line)), default=-1)))

    def renamed(graph: int, line: str) -> str:
        for value in _results(line):
            if (graph, value) not in numbers:
                numbers[graph, value] = next(free)
        return _NUMBER.sub(lambda found: f"%{numbers.get((graph, found[1]), found[1])}", line)

    return [renamed(graph, line) for graph, line in zip(graphs, new, strict=True)]


def _graphs(lines: list[str]) -> Iterator[int]:
    """Of each line, how many graphs have begun with it."""
    graph = 0
    for line in lines:
        graph += line.startswith("graph ")
        yield graph


def _masked(line: str) -> str:
    return _NUMBER.sub("%", line)


def _results(line: str) -> list[str]:
    """The numbers of the values that a line defines."""
    found = _RESULTS.match(line)
    return [] if found is None else [n[1] for n in _NUMBER.finditer(found[1])]
