"""The layers whose inputs can be scaled without an op, with what they read of calibration tokens."""

from collections.abc import Iterator
from typing import Literal

from graphwright.ir import Op, Program, Value
from graphwright.ir.convention import INPUT_IDS
from graphwright.ir.rewriting import Outcome
from graphwright.ir.types import TensorType
from graphwright.passes.calibration import (
    InputStatistics,
    Site,
    calibrate,
    calibration_graph,
    calibration_sites,
    read_tokens,
)
from graphwright.passes.proving.inputs import index_bound
from graphwright.passes.quantization.weight_folds import Blocked, ChannelFold, ChannelFolds
from graphwright.passes.quantization.weights import is_head

Layers = Literal["all", "body", "head"]


def calibrated_folds(
    program: Program, tokens: str, layers: Layers, rule: str, outcome: Outcome
) -> Iterator[tuple[ChannelFold, Site, InputStatistics]]:
    """Each site whose scale can be moved into weights, in order; of the others a near miss says what stops it.

    The program must not change before the last. Raises `PassError` for tokens that cannot be read or run.
    """
    graph = calibration_graph(program)
    rows = read_tokens(tokens, index_bound(graph, graph.input(INPUT_IDS)))
    folds: dict[Value, ChannelFold] = {}
    every = ChannelFolds(program)
    for site in calibration_sites(graph, lambda op: _is_meant(op, layers)):
        try:
            folds[site.x] = every.of(site.x)
        except Blocked as problem:
            outcome.miss(rule, site.ops[0], len(site.ops), f"its input cannot be scaled: {problem}")
    for site, statistics in calibrate(program, rows, lambda op: _is_meant(op, layers) and op.required("x") in folds):
        yield folds[site.x], site, statistics


def _is_meant(op: Op, layers: Layers) -> bool:
    weight = op.required("weight")
    if weight.weight is None or not isinstance(weight.type, TensorType):
        return False
    return layers == "all" or is_head(op) == (layers == "head")
