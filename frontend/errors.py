"""Errors of the frontend beside those of the IR."""

from graphwright.ir import UserError


class CheckpointError(UserError):
    """A checkpoint directory that is incomplete, damaged, or of a kind that is not read; the message names the file."""
