"""Triton's interpreter without what it does again at each call inside of a kernel, most of a small kernel's time.

It puts its own functions in the place of those of `triton.language` for a launch, and once more for each call of a
function of ours inside. In a process that does nothing else once is enough.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


class _Stays:
    """In the place of what would put the functions back."""

    def restore(self) -> None:
        pass


def interpret_from_now_on() -> None:
    """Makes this process one in which `triton.language` is interpreted, always. `TRITON_INTERPRET` must be set."""
    interpreter: Any = import_module("triton.runtime.interpreter")
    patch: Callable[[Any], Any] = interpreter._patch_lang
    language: Any = import_module("triton.language")
    patched = set[bool]()

    def once(function: Any) -> _Stays:
        # Triton's own functions are written in terms of another module than ours.
        ours = any(value is language for value in function.__globals__.values())
        if ours not in patched:
            patch(function)
            patched.add(ours)
        return _Stays()

    interpreter._patch_lang = once
