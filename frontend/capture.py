"""Capture: a module, a Hugging Face checkpoint directory or a torch.export archive as a program, graph `forward`."""

import os
import re
from pathlib import Path

import torch

from graphwright.frontend.inputs import Examples
from graphwright.frontend.module import capture_module
from graphwright.ir import DType, Program, UserError
from graphwright.ir.torch_types import torch_dtype

ARCHIVE_SUFFIX = ".pt2"
COMPUTE = (DType.BF16, DType.F16, DType.F32, DType.F64)


def capture(
    model: torch.nn.Module | str | os.PathLike[str],
    example_inputs: Examples | None = None,
    *,
    dtype: DType | torch.dtype | str | None = None,
    ignore_remote_code: bool = False,
    logits: str | None = None,
    adapter: str | os.PathLike[str] | None = None,
    function: bool = False,
) -> Program:
    """Captures a model with torch.export as a program with the graph `forward`, dynamic in batch `B` and sequence `S`.

    `model` is an nn.Module; the path of a directory with `config.json` and files of weights, which are named,
    not read; or that of a `.pt2` archive that torch.export saved, which was traced then and has the sizes of that
    trace. A module that takes one tensor of token ids is a language model: its input is `input_ids`, i64 [B, S], its
    output `logits` [B, S, vocabulary]. It needs no example. Of what it returns, in whatever nest, the logits are what
    has as many columns as the table of token ids has rows, and a row a token, or that of the last token, which is
    lifted to all. `logits` names them where that is not plain. All else that it returns is left out.
    One whose code takes no batch, but the ids [S] of one sequence, is given one, and each row is what it answers for
    it. An example of one axis says so where its code would take two.
    With `function` it is none: all that it returns is kept, in the shapes that it has.

    A transformers model that generates tokens beside a context (an encoder-decoder) needs no example either: its
    inputs are the context and `decoder_input_ids`. Any other module needs example inputs (tensors, in the order of its
    forward method or by name), which give names, dtypes and shapes. Axis 0 of each is `B`. The length of token ids (i64
    of two axes) is `S`, in every input that is as long; token ids of another length, a decoder's say, have `T`. An axis
    other than these, or whose size the module's code fixes, is as long as in the example.

    The model is captured as it evaluates (dropout off) and is not changed. `dtype` (`"bf16"`, `torch.float32`, …)
    captures it as if converted to that element type; left out, each weight keeps the model's own, and those of a
    checkpoint that is quantized (GPTQ, AWQ, compressed-tensors, fp8 in blocks) are float32, which is exact.

    Code that came with a checkpoint is never run. Where transformers lacks the class that it was saved from, it is
    refused, unless `ignore_remote_code` has transformers' class of that model type stand for it.

    `adapter` is the folder of an adapter that PEFT saved (LoRA), which is merged into the weights of a directory; one
    that lies in the directory itself is too.

    Raises `UnsupportedError` where the model does what the IR cannot say, naming operator and module path,
    `CheckpointError` for a directory that is no complete checkpoint, and `WeightError` for a damaged weight file.
    """
    wanted = None if dtype is None else compute_dtype(dtype)
    if adapter is not None and (isinstance(model, torch.nn.Module) or not Path(model).is_dir()):
        what = f"a {type(model).__name__}" if isinstance(model, torch.nn.Module) else str(model)
        raise UserError(f"an adapter is merged into a checkpoint directory, and {what} is none")
    if isinstance(model, torch.nn.Module):
        return capture_module(model, example_inputs, wanted, logits, function=function)
    if Path(model).suffix == ARCHIVE_SUFFIX:
        from graphwright.frontend.archive import capture_archive, refuse_arguments

        refuse_arguments(example_inputs, dtype)
        return capture_archive(Path(model), logits, function=function)
    from graphwright.frontend.checkpoint import capture_checkpoint
    from graphwright.frontend.kept_captures import capture_once

    directory = Path(model)
    folder = None if adapter is None else Path(adapter)

    def fresh() -> Program:
        return capture_checkpoint(
            directory,
            example_inputs,
            wanted,
            logits,
            ignore_remote_code=ignore_remote_code,
            function=function,
            adapter_folder=folder,
        )

    if example_inputs is not None:
        return fresh()
    folders = [directory] if folder is None else [directory, folder]
    return capture_once(fresh, folders, (wanted, logits, ignore_remote_code, function))


_WORDS = {
    "fp16": DType.F16,
    "half": DType.F16,
    "fp32": DType.F32,
    "float": DType.F32,
    "fp64": DType.F64,
    "double": DType.F64,
}
"""What other tools call the element types."""


def compute_dtype(dtype: DType | torch.dtype | str) -> torch.dtype:
    """The element type to compute in of that name: ours (`bf16`) or torch's (`bfloat16`). Raises `UserError`."""
    for known in COMPUTE:
        if dtype in (known, known.value, torch_dtype(known), str(torch_dtype(known)).removeprefix("torch.")):
            return torch_dtype(known)
    names = ", ".join(known.value for known in COMPUTE)
    meant = _WORDS.get(dtype.lower()) if isinstance(dtype, str) else None
    if meant is not None:
        raise UserError(f"dtype {dtype} is called {meant.value} here; the dtypes to compute in are {names}")
    if isinstance(dtype, str) and re.fullmatch(r"(auto|u?int\d+|[iu]\d+|q\d.*|fp8.*|f8.*|float8.*|\d+)", dtype.lower()):
        raise UserError(
            f"dtype {dtype} is not one to compute in ({names}): weights in few bits are a scheme of quantize "
            "(--quantize), and without a dtype the model's own is kept"
        )
    raise UserError(f"dtype {dtype} is not one to compute in: use one of {names}")
