"""A subject: a program, the passes that faults are planted in, and what is right for the judging inputs."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn

from benchmarks.coverage.causal import CAPACITY
from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.encoder_decoder import calls, is_encoder_decoder
from benchmarks.coverage.engines import interpreted
from benchmarks.coverage.models import FIRST_TOKEN, LAST_TOKEN, call
from benchmarks.coverage.reference import LENGTHS, float64, worst
from benchmarks.mutations.by_hand import ByHand
from benchmarks.mutations.lowerings import LOWERINGS, TARGETS, Lowering
from benchmarks.mutations.models import LOWERED_MAKERS, MAKERS, NEAR_ZERO
from graphwright.compiling.targets import with_cache_layout
from graphwright.frontend import capture
from graphwright.ir import Program, StoredArray, TensorType, ops
from graphwright.ir.interpreter import Precision
from graphwright.ir.quantized import QuantizedTensor
from graphwright.ir.weights import Applied
from graphwright.passes import PIPELINES, Pass

CONTEXT_LENGTHS = (13, 21, 6)
"""Tokens of the rows' contexts, for a model that reads any."""
CONTEXT_LENGTH = 512
"""Said of models that do not say how long a context may be."""
NEAR_ZERO_EVERY = 5
RINGS = ("gemma", "mixtral")
"""The subjects whose windows get ring caches; the others' caches are contiguous."""


@dataclass(frozen=True, eq=False)
class Subject:
    """`rows` are token ids i64 [length], `contexts` those beside them, if the model reads any.

    `exact` are the right logits [length, vocabulary] in float64; `bound` is four times the distance from them of the
    same in float32, or in the program's own types: our sums are as long, in another order.
    """

    name: str
    program: Program
    passes: Sequence[Pass]
    rows: list[Tensor]
    contexts: list[Tensor]
    exact: list[Tensor]
    bound: float


@cache
def subject(name: str) -> Subject:
    """The subject of that name, made once: a model and the pipeline that compiles it, or its lowering to a target."""
    return _lowered(name, LOWERINGS[name]) if name in LOWERINGS else _captured(name)


def _lowered(name: str, lowering: Lowering) -> Subject:
    """What lowering begins with and its passes. Right is what the interpreter makes of that program in float64."""
    whole = subject(lowering.model)
    program, exact, bound = _start(replace(lowering, target=""))
    return Subject(name, program, TARGETS[lowering.target], whole.rows, whole.contexts, exact, bound)


@cache
def _start(lowering: Lowering) -> tuple[Program, list[Tensor], float]:
    """What lowering to any target begins with, what is right for it, and the bound."""
    whole = subject(lowering.model)
    own = whole.passes if lowering.pipeline == "cpu" else None
    program = lowering.start(whole.program, own)

    def said(precision: Precision) -> list[Tensor]:
        start = interpreted(program, whole.contexts, precision)
        with torch.no_grad():
            return [row.double() for row in continued_logits(start, whole.rows, LENGTHS[:1], CAPACITY)]

    exact = said("float64")
    return program, exact, 4 * worst(said("reference"), exact)


def _captured(name: str) -> Subject:
    """A captured model and the pipeline that compiles it. Right is what the original says in float64."""
    model = {**MAKERS, **LOWERED_MAKERS}[name]()
    program = capture(model)
    _store_codes(program, getattr(model, "codes", {}))
    program.metadata.setdefault("context_length", CONTEXT_LENGTH)
    generator = torch.Generator().manual_seed(3)
    rows = [_tokens(n, generator) for n in LENGTHS]
    contexts = [_tokens(n, generator) for n in CONTEXT_LENGTHS] if _reads_context(model) else []
    exact, eager = _said(model, rows, contexts)
    return Subject(
        name=name,
        program=program,
        passes=with_cache_layout(PIPELINES["cpu"], "ring" if name in RINGS else "contiguous"),
        rows=rows,
        contexts=contexts,
        exact=exact,
        bound=4 * worst(eager, exact),
    )


def _store_codes(program: Program, codes: Mapping[str, QuantizedTensor]) -> None:
    """These weights are numbers that codes stand for, as the capture of a quantized checkpoint has them."""
    for name, value in codes.items():
        assert value.zero_points is not None
        stored = StoredArray(value.codes, TensorType(value.type.element, value.type.shape))
        points = StoredArray(value.zero_points, TensorType(value.type.element, value.type.scale_shape))
        parts = (stored, StoredArray.of(value.scales), points)
        whole = Applied.of(ops.quantized, parts, {"group": value.type.group or 0})
        program.weights[name].expression = Applied.of(ops.dequantize, (whole,), {})


def _tokens(count: int, generator: torch.Generator) -> Tensor:
    """Random token ids; the first, and some after it, have embeddings near zero."""
    row = torch.randint(FIRST_TOKEN, LAST_TOKEN, (count,), generator=generator)
    small = torch.randint(len(NEAR_ZERO), (count,), generator=generator)
    row[::NEAR_ZERO_EVERY] = torch.tensor(NEAR_ZERO)[small][::NEAR_ZERO_EVERY]
    return row


def _reads_context(model: nn.Module) -> bool:
    return not isinstance(model, ByHand) and is_encoder_decoder(model)


def _said(model: nn.Module, rows: list[Tensor], contexts: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """What the original says of the rows in float64, and in float32."""
    if isinstance(model, ByHand):
        each: list[Callable[[nn.Module, Tensor], Tensor]] = [lambda module, ids: module(ids)] * len(rows)
    else:
        each = list(calls(contexts)) if contexts else [call] * len(rows)
    with torch.no_grad():
        single = copy.deepcopy(model).float()
        eager = [say(single, row[None])[0] for say, row in zip(each, rows, strict=True)]
        with float64(model) as double:
            exact = [say(double, row[None])[0].double() for say, row in zip(each, rows, strict=True)]
    return exact, eager


SUBJECTS = (*MAKERS, *LOWERINGS)
"""The names of all subjects."""

__all__ = ["MAKERS", "SUBJECTS", "Subject", "subject"]
