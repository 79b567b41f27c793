"""The sizes at which a program is priced: given ones, or defaults within the model's context."""

from __future__ import annotations

from typing import TYPE_CHECKING

from graphwright.errors import UsageError
from graphwright.reporting.pipeline_report import Workload

if TYPE_CHECKING:
    from graphwright.ir import Program

PREFILL_TOKENS = 512
DECODE_CONTEXT = 128


def choose_workload(
    program: Program, batch: int | None = None, length: int | None = None, context: int | None = None
) -> Workload:
    """The workload with these rows, tokens of a prompt, and tokens in the cache.

    Raises UsageError for more than the model's context.
    """
    from graphwright.ir.convention import context_window

    longest = context_window(program)
    for what, given in (("prompt", length), ("context", context)):
        if given is not None and longest is not None and given > longest:
            raise UsageError(f"a {what} of {given} tokens exceeds the {longest} of the context of '{program.name}'")
    return Workload(
        batch=batch or 1,
        prefill_length=length or _within(PREFILL_TOKENS, longest),
        decode_context=context or _within(DECODE_CONTEXT, longest),
    )


def _within(size: int, longest: int | None) -> int:
    return size if longest is None else min(size, longest)
