"""The trained models that quality is measured on, ready to be quantized, with text of their own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from graphwright.api import optimize, trace
from graphwright.evaluating.interpreter_language import InterpreterLanguageModel, metadata_tokens, sample_rows

if TYPE_CHECKING:
    from graphwright.ir import Program
    from graphwright.runtime.token_rows import Ids

ROOT = Path(__file__).resolve().parents[2]
MODELS = {
    "storyteller": ROOT / "examples" / "models" / "storyteller",
    "stories260k": ROOT.parent / "shared" / "models" / "stories260k",
}
CALIBRATION_ROWS, EVALUATION_ROWS = 32, 4
CALIBRATION_SEED, EVALUATION_SEED = 100, 200
GREEDY_TOKENS = 256


@dataclass(frozen=True)
class QualityModel:
    """A float program, tokens int64 [rows, context] that it wrote to calibrate with and to be measured on, and its
    greedy continuation of the start token."""

    name: str
    program: Program
    calibration: Ids
    evaluation: Ids
    greedy: list[int]

    @property
    def length(self) -> int:
        return int(self.evaluation.shape[1])


def prepared(name: str) -> QualityModel:
    """The model of that name, its text written by the interpreter at temperature 1."""
    program, _ = optimize(trace(MODELS[name]), "cpu")
    program.name = name
    language = InterpreterLanguageModel(program)
    length = language.context_length
    assert length is not None, "both models say how long their context is"
    calibration = sample_rows(language, CALIBRATION_ROWS, length, CALIBRATION_SEED)
    evaluation = sample_rows(language, EVALUATION_ROWS, length, EVALUATION_SEED)
    return QualityModel(name, program, calibration, evaluation, greedy(program))


def greedy(program: Program) -> list[int]:
    """The likeliest continuation of the start token: 256 tokens, or up to an end token."""
    run = InterpreterLanguageModel(program).start(1, GREEDY_TOKENS + 1)
    ends = metadata_tokens(program, "eos_token_ids")
    tokens = metadata_tokens(program, "bos_token_ids")[:1]
    while len(tokens) <= GREEDY_TOKENS and tokens[-1] not in ends:
        tokens.append(int(run.step(torch.tensor([[tokens[-1]]]))[0, -1].argmax()))
    return tokens[1:]
