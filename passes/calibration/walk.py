"""Runs calibration tokens through a program op by op, and stops at each product to say what it reads.

All rows advance together, so only what is alive between two ops is held, and a weight that is replaced at a stop is the
one that everything behind it sees.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from graphwright.ir import Graph, Interpreter, Op, PassError, Program, Value, ops
from graphwright.ir.interpreter import bind_symbols, cone
from graphwright.ir.lazy import torch
from graphwright.passes.calibration.statistics import InputStatistics
from graphwright.passes.proving.cached import empty_states
from graphwright.passes.proving.inputs import chosen

if TYPE_CHECKING:
    from torch import Tensor

ROWS_AT_ONCE = 8


@dataclass(frozen=True)
class Site:
    """The products of one graph that read the same value."""

    graph: Graph
    x: Value
    ops: tuple[Op, ...]


def calibration_graph(program: Program) -> Graph:
    """The graph that takes token ids, `prefill` or `forward`. Raises `PassError` where neither runs on them alone."""
    graph = program.graphs.get("prefill") or program.graphs.get("forward")
    if graph is None or "encode" in program.graphs:
        raise PassError(f"program '{program.name}' cannot be calibrated: it takes more than token ids")
    known = {"input_ids", "past_length", "new_length", "logit_positions"}
    strangers = [str(v.name) for v in graph.inputs if v.name not in known and not str(v.name).startswith("past.")]
    if strangers or all(v.name != "input_ids" for v in graph.inputs):
        raise PassError(
            f"program '{program.name}' cannot be calibrated: it takes {', '.join(strangers) or 'no tokens'}"
        )
    return graph


def calibration_sites(graph: Graph, wanted: Callable[[Op], bool]) -> list[Site]:
    """The linear layers for which `wanted` holds, in order, those of one input together."""
    groups: dict[Value, list[Op]] = {}
    for op in graph:
        if op.definition is ops.linear and wanted(op):
            groups.setdefault(op.required("x"), []).append(op)
    return [Site(graph, x, tuple(group)) for x, group in groups.items()]


def calibrate(program: Program, tokens: Tensor, wanted: Callable[[Op], bool]) -> Iterator[tuple[Site, InputStatistics]]:
    """Each site with what its products read, in order. The caller may replace their weights before it goes on.

    `tokens` i64 [rows, length]. Raises `PassError` where the program cannot be calibrated.
    """
    graph = calibration_graph(program)
    sites = calibration_sites(graph, wanted)
    pending = {site.ops[0]: site for site in sites}
    batches = [calibration_inputs(graph, tokens[i : i + ROWS_AT_ONCE]) for i in range(0, len(tokens), ROWS_AT_ONCE)]
    bindings = [bind_symbols(graph, inputs) for inputs in batches]
    alive: list[dict[Value, Tensor]] = [{graph.input(name): t for name, t in inputs.items()} for inputs in batches]
    order = cone([site.x for site in sites] + [v for site in sites[:-1] for op in site.ops for v in op.results])
    order += [op for site in sites for op in site.ops if op not in set(order)]
    last = {v: op for op in order for v in op.inputs}
    for op in order:
        if op in pending:
            site = pending.pop(op)
            size = site.x.type.shape[-1].evaluate({})
            statistics = InputStatistics.empty(size)
            for values in alive:
                statistics.add(values[site.x])
            yield site, statistics
        if not pending:
            return
        _advance(op, alive, bindings, last)


def _advance(op: Op, alive: list[dict[Value, Tensor]], bindings: list[dict[str, int]], last: dict[Value, Op]) -> None:
    interpreter = Interpreter()
    weights = {v: v.weight.evaluate() for v in op.inputs if v.weight is not None}
    with torch.no_grad():
        for values, symbols in zip(alive, bindings, strict=True):
            operands = [None if v is None else weights[v] if v in weights else values[v] for v in op.operands]
            values.update(zip(op.results, interpreter.run_op(op, operands, symbols), strict=True))
            for value in op.inputs:
                if last.get(value) is op:
                    values.pop(value, None)


def calibration_inputs(graph: Graph, rows: Tensor) -> dict[str, Tensor]:
    """The inputs of the calibration graph for rows of tokens, i64 [rows, length], from their beginning."""
    batch, length = rows.shape
    count = torch.full((batch,), length)
    positions = torch.arange(length).expand(batch, length)
    lengths = {"past_length": torch.zeros_like(count), "new_length": count, "logit_positions": positions}
    return chosen(graph, {"input_ids": rows, **lengths, **empty_states(graph, batch, length)})
