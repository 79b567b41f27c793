"""Where the command `graphwright` begins, and where every error that a user can mend ends."""

import sys
from collections.abc import Sequence
from typing import Any, NoReturn, cast

import typer

from graphwright.cli.app import app
from graphwright.cli.arguments import flag
from graphwright.cli.notices import notices_as_lines
from graphwright.cli.signals import clean_exit_on_signals
from graphwright.compiling.requirements import EXTRAS, how_to_install
from graphwright.errors import OptionError, is_user_error
from graphwright.runtime.errors import OptionValueError
from graphwright.runtime.printable import printable_line

USER_ERROR_STATUS = 2
_UTF_8 = "PYTHONIOENCODING=utf-8"

# Its base class stands in another module from one typer release to the next.
_CommandLineError = cast("type[Exception]", typer.BadParameter.__base__)


@clean_exit_on_signals()
def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 when done, 2 with one line on standard error when the user's input is at fault,
    128 and its number when a signal ended it.

    `arguments` are those after the program's name, by default the process's own.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with notices_as_lines():
            status = app(args=given or ["--help"], prog_name="graphwright", standalone_mode=False)
    except _CommandLineError as error:
        _fail(_explain(error, given))
    except (OptionError, OptionValueError) as error:
        option = f"{flag(error.option)} " if error.option else ""
        _fail(f"{option}{error.problem}; {_see_help(given)}")
    except OSError as error:
        _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        _fail(how_to_install(error.name))
    except UnicodeEncodeError as error:
        if error.encoding.lower().replace("-", "") == "utf8":
            raise
        _fail(f"standard output takes {error.encoding} only, which has no {error.object[error.start]!a}: set {_UTF_8}")
    except Exception as error:
        if not is_user_error(error):
            raise
        _fail(str(error))
    raise SystemExit(status or 0)


def _explain(error: Any, given: Sequence[str]) -> str:
    message = error.format_message().rstrip(".")
    return f"{message}; " + (_see_help(given) if error.ctx is None else f"see `{error.ctx.command_path} --help`")


def _see_help(given: Sequence[str]) -> str:
    """Where the help of the command stands that the arguments begin with."""
    commands = {command.name for command in app.registered_commands}
    words = ["graphwright", *(word for word in given[:1] if word in commands), "--help"]
    return f"see `{' '.join(words)}`"


def _fail(message: str) -> NoReturn:
    print(f"error: {printable_line(message)}", file=sys.stderr)
    raise SystemExit(USER_ERROR_STATUS) from None
