"""Where an op comes from: the path of its module, and the line of the user's code."""

from __future__ import annotations


class Location(str):
    """The path of a module, as text. `source` is `file:line` of the code, where it is known; the text form drops it."""

    source: str

    def __new__(cls, path: str, source: str = "") -> Location:
        location = super().__new__(cls, path)
        location.source = source
        return location


def at_source(location: str) -> str:
    """The line of the user's code that an op with this location came from, to stand behind a sentence; maybe empty."""
    source = location.source if isinstance(location, Location) else ""
    return f" ({source})" if source else ""
