"""Notices that need no action by the user: warnings, printed as `note: …` on the command line."""

import warnings


class Notice(UserWarning):
    """Something that was asked for is done in another way; the message is one line that says what, where and why."""


def notify(message: str) -> None:
    """Tell the user of something that stops nothing, as a warning of the class `Notice` from the caller's place."""
    warnings.warn(" ".join(message.split()), Notice, stacklevel=2)
