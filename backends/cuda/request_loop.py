"""What a process does that answers requests of the one that started it: to compile, or to interpret kernels."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from typing import Any


def answer_requests(answer: Callable[[Any], object]) -> None:
    """Answers each pickled request on stdin by a pickled answer on stdout, until there are no more.

    What else is printed to stdout in between goes to stderr.
    """
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    while True:
        try:
            request = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(answer(request), answers)
        answers.flush()
