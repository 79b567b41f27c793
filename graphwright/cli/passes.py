"""`graphwright passes`: what passes and pipelines there are."""

from dataclasses import MISSING
from typing import TYPE_CHECKING, get_args, get_type_hints

from rich.markup import escape

from graphwright.cli.output import console

if TYPE_CHECKING:
    from graphwright.passes import Pass


def passes_command() -> None:
    """List the passes with their options, and the pipelines."""
    from graphwright.compiling.targets import pipelines
    from graphwright.passes import REGISTRY

    out = console()
    for name in sorted(REGISTRY):
        cls = REGISTRY[name]
        kind = "[red]lossy[/]" if cls.lossy else "[green]lossless[/]"
        out.print(f"[bold]{name}[/] ({kind}): {escape(_first_line(cls))}")
        for option in _options(cls):
            out.print(f"    {option}", markup=False)
    for name, passes in pipelines().items():
        out.print(f"[bold]pipeline {name}[/]: {escape(', '.join(map(str, passes)))}")


def _first_line(cls: "type[Pass]") -> str:
    return (cls.__doc__ or "").strip().partition("\n")[0]


def _options(cls: "type[Pass]") -> list[str]:
    """Name, type and default of each option."""
    from graphwright.ir.attributes import attribute_text
    from graphwright.passes.base import option_fields

    hints = get_type_hints(cls)
    lines: list[str] = []
    for field in option_fields(cls):
        kind = hints[field.name]
        choices = [str(c) for c in get_args(kind)]
        described = " | ".join(choices) if choices else str(getattr(kind, "__name__", kind))
        default = "required" if field.default is MISSING else f"default {attribute_text(field.default)}"
        lines.append(f"{field.name}: {described} ({default})")
    return lines
