"""Where what can be made again is kept between runs."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "XDG_CACHE_HOME"


def cache_folder() -> Path:
    """The folder `graphwright` in XDG_CACHE_HOME, which counts if it is absolute, else in ~/.cache."""
    named = Path(os.environ.get(CACHE_VARIABLE, ""))
    return (named if named.is_absolute() else Path.home() / ".cache") / "graphwright"
