"""A language model of two layers and a tied head as IR text, with prefill and decode, and tokens for it."""

from __future__ import annotations

from pathlib import Path

import numpy
import torch

from graphwright.ir import Interpreter, Program, parse_program
from tests.passes.graphs import random_weight

VOCABULARY, WIDTH, INNER = 40, 8, 20

_GRAPH = """graph {name}(%input_ids: i64[B, {length}]) {{
  %0 = embedding(@table, %input_ids) : f32[B, {length}, 8]
  %1 = linear(%0, @up, @bias) : f32[B, {length}, 20]  at model.up
  %2 = activation(%1) {{kind="silu"}} : f32[B, {length}, 20]
  %3 = linear(%2, @down) : f32[B, {length}, 8]  at model.down
  %4 = add(%0, %3) : f32[B, {length}, 8]
  %5 = linear(%4, @table) : f32[B, {length}, 40]  at head
  return logits=%5
}}
"""


def language_model() -> Program:
    weights = (
        random_weight("table", VOCABULARY, WIDTH)
        + random_weight("up", INNER, WIDTH)
        + random_weight("bias", INNER)
        + random_weight("down", WIDTH, INNER)
    )
    graphs = (_GRAPH.format(name=name, length=length) for name, length in (("prefill", "S"), ("decode", "1")))
    return parse_program('program "model"\n' + weights + "".join(graphs))


def token_file(folder: Path, rows: int = 12, length: int = 24) -> Path:
    path = folder / "tokens.npy"
    tokens = torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(2))
    numpy.save(path, tokens.numpy())
    return path


def tokens_in(path: Path) -> torch.Tensor:
    return torch.as_tensor(numpy.load(path))


def logits(program: Program, tokens: torch.Tensor, graph: str = "prefill") -> torch.Tensor:
    return Interpreter("float64").run(program.graphs[graph], {"input_ids": tokens})["logits"]
