"""Errors that a user of the runtime can cause.

Every message is one line that says what is wrong, where, and what to do; the command line prints it and exits with 2.
"""

from graphwright.runtime.printable import printable_line


class UserError(Exception):
    """Base of all errors whose cause lies with the user's input, files or machine."""

    def __init__(self, message: str) -> None:
        super().__init__(printable_line(message))


class ArtifactError(UserError):
    """The artifact folder is missing, damaged, of an unknown format, or cannot be written."""


class SessionError(UserError):
    """The program cannot be started or run on this machine with the library that is installed for it."""


class GenerationError(UserError):
    """A prompt or an option of a generation is unusable."""


class OptionValueError(GenerationError):
    """An option of a generation has a value out of its range. `option` is the keyword argument, `problem` the rest."""

    def __init__(self, option: str, problem: str) -> None:
        super().__init__(f"{option} {problem}")
        self.option = option
        self.problem = problem


class ContextError(GenerationError):
    """A request needs more positions or more memory than the context has."""


class ChatTemplateError(GenerationError):
    """The model has no chat template, or the template refuses the messages."""


class DataError(UserError):
    """Text or token ids that a model cannot be evaluated on or calibrated with."""
