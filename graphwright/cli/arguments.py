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
LogitsOption = Annotated[
    str | None, typer.Option("--logits", metavar="NAME", help="The output that holds MODEL's logits, if not plain.")
]
AssetsOption = Annotated[
    Path | None, typer.Option("--assets", help="Folder of tokenizer and configuration files, by default MODEL's.")
]
IgnoreRemoteCodeOption = Annotated[
    bool,
    typer.Option(
        "--ignore-remote-code", help="Take a checkpoint that came with code of its own for transformers' model."
    ),
]
AdapterOption = Annotated[
    Path | None, typer.Option("--adapter", help="Folder of a LoRA adapter of PEFT to merge into MODEL, a directory.")
]
QuantizeOption = Annotated[
    str | None, typer.Option("--quantize", metavar="SCHEME", help="As w4a16-g128, w4a8-g32, w8, w8a8, w4a8-g128+kv8.")
]
CalibrationOption = Annotated[
    str | None,
    typer.Option(
        "--calibration", metavar="FILE", help="A text or a .npy of token ids; self: text that the model writes itself."
    ),
]
CalibrationRowsOption = Annotated[int | None, typer.Option("--calibration-rows", help="Rows of tokens; at most 32.")]
CalibrationLengthOption = Annotated[
    int | None, typer.Option("--calibration-length", help="Tokens of a row; by default 512, or the context.")
]
WorkOption = Annotated[
    Path | None, typer.Option("--work", help="A folder in which a long method keeps what is done, to go on from there.")
]
MaxKLOption = Annotated[
    float | None, typer.Option("--max-kl", help="Mixed precision: at most so many nats of KL divergence a token.")
]
BitsOption = Annotated[float | None, typer.Option("--bits", help="Mixed precision: so many bits a weight on average.")]


_FLAGS = {"stop_strings": "--stop"}
"""Flags that have another name than the keyword argument in Python."""


def flag(argument: str) -> str:
    """The flag of a keyword argument of Python, `--top-p` for `top_p`; what follows a dot is a part of its value."""
    name = argument.partition(".")[0]
    return _FLAGS.get(name, f"--{name.replace('_', '-')}")
