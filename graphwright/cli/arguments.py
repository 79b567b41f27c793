"""Arguments that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from graphwright.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from graphwright.passes import Pass

_FORMS = "A checkpoint directory, a .gw file, a .pt2 archive, or file.py:factory"
ModelArgument = Annotated[str, typer.Argument(metavar="MODEL", help=f"{_FORMS}.")]
ProgramArgument = Annotated[str, typer.Argument(metavar="MODEL", help=f"{_FORMS}; - reads a program's text.")]
PipelineOption = Annotated[
    str | None, typer.Option("--pipeline", help="A named pipeline instead of the target's; see `graphwright passes`.")
]
NamedPipelineOption = Annotated[
    str | None, typer.Option("--pipeline", help="A named pipeline; see `graphwright passes`.")
]
PassesOption = Annotated[
    str | None, typer.Option("--passes", help="Passes joined by commas, options in braces: name{option=value}.")
]
DTypeOption = Annotated[
    str | None, typer.Option("--dtype", help="Capture as if converted to bf16, f16 or f32; by default as stored.")
]
MaxContextOption = Annotated[
    int | None, typer.Option("--max-context", help="Bound the context to so many tokens; by default the model's own.")
]
AssetsOption = Annotated[
    Path | None, typer.Option("--assets", help="Folder of tokenizer and configuration files, by default MODEL's.")
]


def chosen_passes(passes: str | None, pipeline: str | None) -> "Sequence[Pass] | None":
    """The passes of `--passes` or `--pipeline`, None without either. Raises UsageError for both, PassError."""
    from graphwright.passes import named_pipeline, parse_passes

    if passes is not None and pipeline is not None:
        raise UsageError("give --passes or --pipeline, not both")
    if pipeline is not None:
        return named_pipeline(pipeline)
    return None if passes is None else parse_passes(passes)
