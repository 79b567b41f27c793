"""Calibration tokens: a file of int64 [rows, length], as `numpy.save` writes it."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING

from graphwright.ir import PassError, Program
from graphwright.ir.convention import INPUT_IDS, context_window
from graphwright.ir.files import read_bytes
from graphwright.ir.lazy import torch
from graphwright.passes.calibration.sites import calibration_graph
from graphwright.passes.proving.inputs import index_bound

if TYPE_CHECKING:
    from torch import Tensor


LARGEST = 1 << 30
"""Bytes of a file of tokens that are read at most."""


def read_tokens(path: str, vocabulary: int | None) -> Tensor:
    """The tokens i64 [rows, length] in a `.npy` file. Raises `PassError` where it holds none, or unknown ones."""
    import numpy

    if not path:
        raise PassError("this pass needs calibration tokens: give tokens=FILE.npy, int64 [rows, length]")
    try:
        array = numpy.load(BytesIO(read_bytes(path, LARGEST)), allow_pickle=False)
    except (OSError, ValueError, EOFError, MemoryError) as problem:
        raise PassError(f"{path}: cannot be read as an array of tokens ({problem})") from None
    if array.ndim != 2 or array.dtype.kind not in "iu" or not array.size:
        raise PassError(f"{path}: holds {array.dtype}{list(array.shape)}, expected token ids [rows, length]")
    if array.min() < 0 or (vocabulary is not None and array.max() >= vocabulary):
        raise PassError(f"{path}: token {max(array.max(), -array.min())} is outside the vocabulary of {vocabulary}")
    return torch.as_tensor(array.astype("int64"))


def calibration_tokens(program: Program, path: str) -> Tensor:
    """Tokens that the program takes, out of a `.npy` file. Raises `PassError` as `read_tokens` does, and for rows that
    are longer than the program's context."""
    graph = calibration_graph(program)
    tokens = read_tokens(path, index_bound(graph, graph.input(INPUT_IDS)))
    context = context_window(program)
    if context is not None and tokens.shape[1] > context:
        raise PassError(f"{path}: rows of {tokens.shape[1]} tokens, the model's context has {context}: cut them")
    return tokens
