"""Errors that a user of the IR can cause: each message is one line that says what is wrong, where, and what to do."""


class UserError(Exception):
    """Base of every error of the compiler that a user can cause and mend. The command line prints it and exits 2."""


class IRTypeError(UserError):
    """An op's operands or attributes do not fit its declaration."""


class TextError(UserError):
    """IR text that does not parse; the message begins with `file:line:column`."""

    def __init__(self, message: str, line: int, column: int, file: str = "<text>") -> None:
        super().__init__(f"{file}:{line}:{column}: {message}")
        self.line = line
        self.column = column


class VerificationError(UserError):
    """A graph that breaks an invariant; the message quotes the op and the number of its printed line."""


class WeightError(UserError):
    """A weight whose value is missing, cut short, or of another shape or dtype than declared."""


class PassError(UserError):
    """A pass that refuses a graph, or a pipeline that names no pass; the message says why and where."""


class UnsupportedError(UserError):
    """Something the compiler does not know how to handle; the message names the op and its module path."""
