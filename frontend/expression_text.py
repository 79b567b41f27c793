"""Reading of expressions that a file or torch wrote: as a tree, within limits, and never as code to run."""

import ast
import warnings

LONGEST = 4096
"""Characters of an expression. torch's own have some hundreds at most."""

LARGEST = (1 << 63) - 1
"""The largest integer, as in torch's sizes."""


class ExpressionError(ValueError):
    """Text that is no expression of the language, or one past its limits; the message says which and quotes it."""


def expression_tree(text: object) -> ast.expr:
    """The syntax tree of a text that is a single Python expression. Nothing of it is evaluated.

    Raises `ExpressionError` for what is not a text, no expression, or longer than `LONGEST`.
    """
    if not isinstance(text, str):
        raise ExpressionError(f"{quoted(text)} is not a text")
    if len(text) > LONGEST:
        raise ExpressionError(f"{quoted(text)} has {len(text)} characters, {LONGEST} at most are read")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # what Python's parser raises for bad or deep text
        raise ExpressionError(f"{quoted(text)} is not an expression") from None


def integer(tree: ast.expr) -> int | None:
    """The value of an integer, with or without a sign; None for anything else. Raises past 63 bits."""
    if isinstance(tree, ast.UnaryOp) and isinstance(tree.op, ast.USub):
        value = integer(tree.operand)
        return None if value is None else -value
    if not isinstance(tree, ast.Constant) or type(tree.value) is not int:
        return None
    if tree.value > LARGEST:
        raise ExpressionError(f"an integer has {tree.value.bit_length()} bits, sizes have 63 at most")
    return tree.value


def quoted(text: object) -> str:
    """A piece of a file for a message: in quotes, without control characters, shortened."""
    whole = ascii(text) if not isinstance(text, str) else ascii(text[:81])
    return whole if len(whole) <= 80 else f"{whole[:77]}..."
