"""One row of the table: a scheme on a model."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.quality.models import QualityModel, greedy
from graphwright.evaluating.interpreter_language import InterpreterLanguageModel
from graphwright.quantizing.quantization import Quantization, quantize_program
from graphwright.quantizing.quantization_report import cache_bits, weight_bytes
from graphwright.runtime.evaluation import score


@dataclass(frozen=True)
class Row:
    """Figures of a scheme, or why it was refused. `kl` in nats a token, from the float model; `agreement` of likeliest
    tokens; `same_greedy` counts the tokens of the float model's greedy text before the first that differs, of
    `greedy_tokens`; `cache_bytes` are of a token."""

    scheme: str
    seconds: float
    kl: float | None = None
    perplexity: float | None = None
    agreement: float | None = None
    same_greedy: int | None = None
    greedy_tokens: int | None = None
    weight_bytes: int | None = None
    cache_bytes: float | None = None
    refused: str = ""


def measure(model: QualityModel, scheme: str) -> Row:
    """Quantizes a copy of the model and compares; `float32` is the model itself. Raises what quantizing raises."""
    begin = time.perf_counter()
    program = model.program.clone()
    if scheme != "float32":
        quantize_program(program, Quantization(scheme, model.calibration))
    found = score(InterpreterLanguageModel(program), model.evaluation, InterpreterLanguageModel(model.program))
    written = greedy(program)
    same = next((i for i, (a, b) in enumerate(zip(written, model.greedy, strict=False)) if a != b), len(written))
    return Row(
        scheme,
        time.perf_counter() - begin,
        found.kl,
        found.perplexity,
        found.agreement,
        min(same, len(model.greedy)),
        len(model.greedy),
        weight_bytes(program),
        cache_bits(program) / 8,
    )
