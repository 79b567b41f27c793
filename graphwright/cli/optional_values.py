"""Options whose value may be left out: `--print-after` and `--print-after=PASS`."""

from typing import Any, ClassVar

from typer.core import TyperCommand

EVERY = "*"
"""What such an option holds when it was given without a value."""


class OptionalValues(TyperCommand):
    """A command some of whose options take a value only behind `=`; typer itself wants one always or never."""

    optional: ClassVar[frozenset[str]]

    # The context's class stands in another module from one typer release to the next.
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        given = [f"{a}={EVERY}" if a in self.optional else a for a in args[:end]]
        return super().parse_args(ctx, given + args[end:])


def optional_values(*names: str) -> type[TyperCommand]:
    """A class of commands in which these options may stand without a value."""

    class Command(OptionalValues):
        optional: ClassVar[frozenset[str]] = frozenset(names)

    return Command
