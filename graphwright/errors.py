"""Errors of the public functions, and which exceptions are user errors."""

from graphwright.runtime.errors import UserError


class UsageError(UserError):
    """A model, path or option that cannot be acted on; the message is one line that says what to do."""


class OptionError(UsageError):
    """An option, or a combination of options, that cannot be acted on; the command line adds where its help is.

    `option` is the keyword argument that has a wrong value, if it is one: the message then is its name and `problem`.
    """

    def __init__(self, problem: str, option: str = "") -> None:
        super().__init__(f"{option} {problem}" if option else problem)
        self.option = option
        self.problem = problem


def is_user_error(error: BaseException) -> bool:
    """Whether a person can mend what `error` says: true for every exception that this package raises on purpose.

    Compiler and runtime are separate installations and share no base class; this asks about both.
    """
    if isinstance(error, UserError):
        return True
    from graphwright.ir.errors import UserError as CompilerError

    return isinstance(error, CompilerError)
