"""Python's collector of reference cycles, while a program is compiled."""

import gc
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def without_collection() -> Generator[None]:
    """Cycles are not looked for while the body runs.

    A capture and the passes make millions of objects that live to the end. The collector would walk all of them again
    and again, a tenth of a compile, and find next to nothing.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
