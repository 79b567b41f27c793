"""Arguments that several commands share."""

from pathlib import Path
from typing import Annotated

import typer

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
