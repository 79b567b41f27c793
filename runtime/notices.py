"""Notices: what a user should know of and need not mend. They are warnings, and on the command line `note: …`."""

from __future__ import annotations

import warnings


class Notice(UserWarning):
    """Something that was asked for is done in another way; the message is one line that says what, where and why."""


def notify(message: str) -> None:
    """Tell the user of something that stops nothing, as a warning of the class `Notice` from the caller's place."""
    warnings.warn(" ".join(message.split()), Notice, stacklevel=2)
