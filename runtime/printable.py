"""Text from files, made fit to be shown: what would steer a terminal, or reorder a line, is spelt out.

An escape sequence in a model's name could clear the screen, retitle the window or hide what an error says; so could
text direction overrides. They appear as Python writes them in a string: `\\x1b`, `\\u202e`.
"""

import re

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """`text` with its lines and tabs, and everything else that has no shape of its own spelt out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def printable_line(text: str) -> str:
    """`text` as one line: white space of any kind and length is one space."""
    return printable(" ".join(text.split()))


def for_terminal(text: str) -> str:
    """Written text, as a model generates it, with only what would steer a terminal spelt out.

    Unlike a name, it may well hold joiners and marks of direction, which many scripts and emoji need. A carriage return
    goes too: it could write over what stands on the line.
    """
    return _STEERING.sub(lambda match: ascii(match[0])[1:-1], text)
