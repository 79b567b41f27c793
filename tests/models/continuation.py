"""Runs a compiled program as a generator would: ragged rows, in chunks, over caches full of garbage."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from graphwright.ir import Graph, Interpreter, Program, StateType

Step = Callable[[dict[str, Tensor]], dict[str, Tensor]]


def interpreter_step(program: Program) -> Step:
    """One step of the prefill graph by the reference interpreter."""
    interpreter = Interpreter()
    graph = program.graphs["prefill"]
    return lambda inputs: interpreter.run(graph, inputs)


def empty_caches(graph: Graph, batch: int, capacity: int) -> dict[str, Tensor]:
    """Caches filled with a number that shows if it is ever read; recurrent states start as zeros."""
    sizes = {"B": batch, "C": capacity}
    caches: dict[str, Tensor] = {}
    for value in graph.inputs:
        if isinstance(value.type, StateType):
            garbage = 0.0 if value.type.layout == "recurrent" else 1e4
            caches[str(value.name)] = torch.full([d.evaluate(sizes) for d in value.type.shape], garbage)
    return caches


def continued_logits(
    program: Program, step: Step, rows: Sequence[Tensor], chunks: Sequence[int], capacity: int
) -> list[Tensor]:
    """Logits [length, vocabulary] of every token of each row, fed in chunks that are padded on the right."""
    batch = len(rows)
    caches = empty_caches(program.graphs["prefill"], batch, capacity)
    past = torch.zeros(batch, dtype=torch.int64)
    found: list[list[Tensor]] = [[] for _ in rows]
    for size in chunks:
        parts = [row[int(p) : int(p) + size] for row, p in zip(rows, past, strict=True)]
        new = torch.tensor([len(part) for part in parts])
        ids = torch.stack([torch.nn.functional.pad(part, (0, size - len(part)), value=5) for part in parts])
        outputs = step(
            {
                "input_ids": ids,
                "past_length": past,
                "new_length": new,
                "logit_positions": torch.arange(size).expand(batch, size).contiguous(),
                **caches,
            }
        )
        for row, count in enumerate(new.tolist()):
            found[row].append(outputs["logits"][row, :count])
        caches = {name: outputs[name.replace("past", "present", 1)] for name in caches}
        past = past + new
    return [torch.cat(parts) for parts in found]
