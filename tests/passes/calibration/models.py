"""A small language model for calibration: a residual stream through blocks that are much wider inside."""

from __future__ import annotations

import torch

from graphwright.ir import Builder, Graph, Program, StoredArray, Value, ops, tensor

VOCABULARY = 11


def wide_blocks(layers: int, size: int, inner: int, seed: int = 0) -> Program:
    """Token ids i64 [B, S] through `layers` blocks, x + down(silu(up(norm(x)))), and a head over the same table."""
    generator = torch.Generator().manual_seed(seed)
    program = Program("blocks")
    graph = program.add_graph(Graph("forward"))

    def weight(name: str, *shape: int) -> Value:
        array = torch.randn(*shape, generator=generator) / shape[-1] ** 0.5
        return graph.weight(program.add_weight(name, StoredArray.of(array)))

    table = weight("table", VOCABULARY, size)
    x = Builder(graph, location="table")(ops.embedding, table, graph.add_input("input_ids", tensor("i64", "B", "S")))
    for i in range(layers):
        build = Builder(graph, location=f"block.{i}")
        normal = build(ops.rms_norm, x, weight(f"norm.{i}", size), epsilon=1e-5)
        up = Builder(graph, location=f"block.{i}.up")(ops.linear, normal, weight(f"up.{i}", inner, size))
        on = build(ops.mul, up, build(ops.sigmoid, up))
        down = Builder(graph, location=f"block.{i}.down")(ops.linear, on, weight(f"down.{i}", size, inner))
        x = build(ops.add, x, down)
    graph.outputs["logits"] = Builder(graph, location="head")(ops.linear, x, table)
    return program


def tokens(rows: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))
