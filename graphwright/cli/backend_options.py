"""Options of the command line that the backends declare."""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from graphwright.backends.interface import option_fields
from graphwright.backends.registry import BACKENDS

BackendOption = Annotated[
    str | None,
    typer.Option(
        metavar="|".join(BACKENDS),
        help="; ".join(f"{backend.name}: {backend.summary}" for backend in BACKENDS.values())
        + "; by default the one of the target's name, or the first that compiles for it.",
    ),
]
TargetOption = Annotated[
    str,
    typer.Option(
        help=f"Where it runs: {', '.join(sorted({t for backend in BACKENDS.values() for t in backend.targets}))}."
    ),
]


def with_backend_options(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose `**` parameter gets those of the backends' options that the user gives, by name."""
    signature = inspect.signature(command)
    *named, rest = signature.parameters.values()
    assert rest.kind is rest.VAR_KEYWORD
    added = {
        field.name: inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                type(field.default) | None,
                typer.Option(
                    metavar="|".join(field.metadata["values"]) or None,
                    help=f"{field.metadata['help']} With --backend {backend.name}; by default {field.default}.",
                ),
            ],
        )
        for backend in BACKENDS.values()
        for field in option_fields(backend)
    }

    @wraps(command)
    def run(**arguments: Any) -> None:
        command(**{name: value for name, value in arguments.items() if name not in added or value is not None})

    # What the command line is made of, instead of the signature of what is wrapped.
    vars(run)["__signature__"] = signature.replace(parameters=[*named, *added.values()])
    return run
