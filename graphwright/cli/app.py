"""The table of commands. Each imports what it works with when it runs, so that help and completion are quick."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from graphwright.cli.compile import compile_command
from graphwright.cli.doctor import doctor_command
from graphwright.cli.evaluate import evaluate_command
from graphwright.cli.explain import explain_command
from graphwright.cli.export import export_command
from graphwright.cli.generate import generate_command
from graphwright.cli.inspect import inspect_command
from graphwright.cli.machine import machine_command
from graphwright.cli.opt import OptCommand, opt_command
from graphwright.cli.passes import passes_command
from graphwright.cli.quantize import quantize_command
from graphwright.cli.report import report_command
from graphwright.cli.run import run_command
from graphwright.cli.trace import trace_command

app = typer.Typer(
    name="graphwright",
    help="An inference compiler for language models.",
    epilog="Example: graphwright compile path/to/checkpoint -o out/model && graphwright generate out/model 'Once'",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        from graphwright.version import __version__

        typer.echo(f"graphwright {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """An inference compiler for language models."""


def _help(command: Callable[..., Any]) -> str:
    """The command's docstring with a line a paragraph, as the terminal wraps them."""
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    return "\n\n".join(paragraph.replace("\n", " ") for paragraph in paragraphs)


_EXAMPLES = {
    "compile": "graphwright compile path/to/checkpoint -o out/model",
    "generate": "graphwright generate out/model 'Once upon a time' --max-new-tokens 64",
    "trace": "graphwright trace path/to/checkpoint -o model.gw",
    "opt": "graphwright opt path/to/checkpoint --pipeline default --prove --price local -o out.gw",
    "run": "graphwright run out/model/lowered.gw --weights out/model --prompt 'Once upon a time'",
    "explain": "graphwright explain path/to/checkpoint --rule fuse-rms-norm",
    "passes": "graphwright passes",
    "report": "graphwright report path/to/checkpoint -o report.html --prove",
    "quantize": "graphwright quantize path/to/checkpoint --to w4a16-g128 -o out/small.gw",
    "evaluate": "graphwright evaluate out/model --text text.txt --against path/to/checkpoint",
    "export": "graphwright export path/to/checkpoint -o out/onnx --layout plain",
    "inspect": "graphwright inspect out/model",
    "machine": "graphwright machine --measure",
    "doctor": "graphwright doctor",
}
_CLASSES = {"opt": OptCommand}
for _name, _command in {
    "compile": compile_command,
    "generate": generate_command,
    "trace": trace_command,
    "opt": opt_command,
    "run": run_command,
    "explain": explain_command,
    "passes": passes_command,
    "report": report_command,
    "quantize": quantize_command,
    "evaluate": evaluate_command,
    "export": export_command,
    "inspect": inspect_command,
    "machine": machine_command,
    "doctor": doctor_command,
}.items():
    app.command(_name, cls=_CLASSES.get(_name), help=_help(_command), epilog=f"Example: {_EXAMPLES[_name]}")(_command)
