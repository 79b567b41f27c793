"""Many modules in few words: `model.layers.0.norm` to `model.layers.29.norm` are `model.layers.0-29.norm`."""

import re
from collections.abc import Iterable

_INDEX = re.compile(r"(?<=\.)\d+(?=\.|$)")
"""A module's place in a list."""


def module_ranges(locations: Iterable[str]) -> list[str]:
    """The locations, those that differ in their first index alone as one, in order of their first."""
    groups: dict[tuple[str, str], list[int]] = {}
    for location in locations:
        found = _INDEX.search(location)
        if found is None:
            groups.setdefault((location, ""), [])
        else:
            groups.setdefault((location[: found.start()], location[found.end() :]), []).append(int(found[0]))
    return [f"{head}{_ranges(indices)}{tail}" for (head, tail), indices in groups.items()]


def _ranges(indices: list[int]) -> str:
    runs: list[tuple[int, int]] = []
    for index in sorted(set(indices)):
        if runs and index == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], index)
        else:
            runs.append((index, index))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
