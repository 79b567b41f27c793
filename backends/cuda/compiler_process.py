"""A process that compiles variants of kernels, one after another, as `parallel_images` asks it to.

Reads pickled pairs of a variant and an architecture from stdin and answers each on stdout: the image, or a line that
says why there is none. What Triton keeps for itself goes with the folder that the process is given.
"""

from __future__ import annotations

import traceback

from graphwright.backends.cuda.emit import TailVariant, Variant
from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.cuda.images import Image, compiled
from graphwright.backends.cuda.request_loop import answer_requests
from graphwright.ir.errors import UserError


def answer(request: tuple[Variant | TailVariant, Gpu]) -> Image | tuple[str, str]:
    """The image; or a line that says why there is none, and a traceback where that is no fault of the user's."""
    try:
        return compiled(*request)
    except UserError as error:
        return str(error), ""
    except Exception as error:
        said = [line for line in str(error).splitlines() if line.strip()]
        return f"{type(error).__name__}: {said[-1].strip() if said else 'no reason'}", traceback.format_exc()


if __name__ == "__main__":
    answer_requests(answer)
