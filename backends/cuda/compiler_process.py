"""A process that compiles variants of kernels, one after another, as `parallel_images` asks it to.

Reads pickled pairs of a variant and an architecture from stdin and answers each on stdout: the image, or a line that
says why there is none. What Triton keeps for itself goes with the folder that the process is given.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback

from graphwright.backends.cuda.images import Image, compiled
from graphwright.ir.errors import UserError


def main() -> None:
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Triton prints is no answer
    while True:
        try:
            variant, gpu = pickle.load(requests)
        except EOFError:
            return
        answer: Image | tuple[str, str]
        try:
            answer = compiled(variant, gpu)
        except UserError as error:
            answer = str(error), ""
        except Exception as error:
            said = [line for line in str(error).splitlines() if line.strip()]
            answer = f"{type(error).__name__}: {said[-1].strip() if said else 'no reason'}", traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
