"""The command line: one file a command."""

from graphwright.cli.entry import main

__all__ = ["main"]
