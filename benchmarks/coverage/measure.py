"""Measures one architecture, stage by stage: whatever ends it early ends up in its row."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.coverage import causal, encoder_decoder, functions, statistics
from benchmarks.coverage.architectures import is_causal
from benchmarks.coverage.engines import interpreted, loaded
from benchmarks.coverage.models import ModelError, causal_model, random_model
from benchmarks.coverage.reference import STEPS, Reference, reference
from benchmarks.coverage.row import Row
from benchmarks.coverage.shrinking import LONGEST
from graphwright import is_user_error
from graphwright.compiling.lowering import build_artifact
from graphwright.frontend import capture
from graphwright.ir import Interpreter, Program
from graphwright.passes import PIPELINES, run_passes
from graphwright.runtime import load, load_function

SEEDS = range(4)
FUNCTION_GAIN = 3.0
INTERPRETER = "interpreter"


def measure(architecture: str, dialect: str) -> Row:
    """The row of an architecture."""
    row = Row(architecture)
    begin = time.perf_counter()
    torch.set_num_threads(1)
    try:
        (_measure_causal if is_causal(architecture) else _measure_other)(row, dialect)
        row.enter("done")
        row.status = "right" if _is_right(row) else "wrong"
    except Exception as problem:
        refused = is_user_error(problem) and row.stage in ("capture", "passes", "build")
        row.status = "refused" if refused else "failed"
        row.reason = _reason(problem, refused)
    row.seconds = round(time.perf_counter() - begin, 1)
    return row


def _is_right(row: Row) -> bool:
    within = all(error <= 1 for by_check in row.errors.values() for error in by_check.values())
    tied = any("is a tie" in note for note in row.notes)
    return within and (tied or all(count == STEPS for count in row.greedy.values()))


def _reason(problem: Exception, refused: bool) -> str:
    line = " ".join(str(problem).split())
    if refused or isinstance(problem, ModelError):
        return line
    frames = traceback.extract_tb(problem.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    return f"{type(problem).__name__} at {place}: {line}"


def _measure_causal(row: Row, dialect: str) -> None:
    for seed in SEEDS:
        row.enter("model")
        made = causal_model(row.architecture, seed)
        row.enter("reference")
        expected = reference(made.module)
        if not expected.flips:
            break
        row.notes.append(f"seed {seed} passed over: eager float32 itself routes tokens to other experts than float64")
    else:
        raise ModelError("eager float32 routes tokens to other experts than float64 with every seed")
    row.gain, row.spread, row.bound = made.gain, made.spread, expected.bound
    row.enter("capture")
    _check_generator(row, made.module, expected, (), dialect)
    if not _is_right(row) and expected.nearest_tie < 1e-5:
        row.notes.append(f"its experts' scores come as near as {expected.nearest_tie:.0e} to a tie")


def _measure_encoder_decoder(row: Row, module: nn.Module, dialect: str) -> None:
    row.enter("reference")
    given = encoder_decoder.contexts(module)
    expected = reference(module, encoder_decoder.calls(given))
    row.bound = expected.bound
    row.enter("capture")
    _check_generator(row, module, expected, given, dialect)


def _check_generator(
    row: Row, module: nn.Module, expected: Reference, contexts: Sequence[Tensor], dialect: str
) -> None:
    """Captures, compiles and runs a model that generates, beside contexts if there are any."""
    program = capture(module)
    program.metadata.setdefault("context_length", LONGEST)
    _compile(row, program, "cpu")
    row.cache_bytes_per_token, row.state_bytes = statistics.memory(program)
    row.errors[INTERPRETER] = causal.errors(interpreted(program, contexts), expected)
    row.greedy[INTERPRETER], note = causal.greedy_agreement(interpreted(program, contexts[-1:]), expected)
    row.notes += [note] if note else []
    with TemporaryDirectory() as folder:
        row.enter("build")
        build_artifact(program, Path(folder) / "artifact", dialect=dialect)
        row.enter("load")
        model = load(Path(folder) / "artifact", threads=1)
        row.enter("checks")
        row.errors[dialect] = causal.errors(loaded(model, contexts), expected)
        row.greedy[dialect], note = causal.greedy_agreement(loaded(model, contexts[-1:]), expected)
        row.notes += [note] if note else []


def _compile(row: Row, program: Program, pipeline: str) -> None:
    row.enter("passes")
    run_passes(program, PIPELINES[pipeline])
    row.operations = statistics.operations(program)
    row.recurrent = sorted(statistics.recurrent_operations(program))
    row.enter("interpreter")


def _measure_other(row: Row, dialect: str) -> None:
    module = random_model(row.architecture, SEEDS[0], FUNCTION_GAIN)
    row.gain = FUNCTION_GAIN
    if encoder_decoder.is_encoder_decoder(module):
        _measure_encoder_decoder(row, module, dialect)
        return
    row.enter("capture")
    program = capture(module, functions.calling(module).examples(module.config))
    row.enter("reference")
    outputs = list(program.graphs["forward"].outputs)
    expected = functions.function_reference(module, outputs)
    row.bound = max(bound for _, _, bound in expected.cases.values())
    _compile(row, program, "raise")
    interpreter = Interpreter()
    graph = program.graphs["forward"]
    row.errors[INTERPRETER] = functions.function_errors(lambda given: interpreter.run(graph, given), expected)
    with TemporaryDirectory() as folder:
        row.enter("build")
        build_artifact(program, Path(folder) / "artifact", dialect=dialect)
        row.enter("load")
        function = load_function(Path(folder) / "artifact", threads=1)
        row.enter("checks")

        def run(given: functions.Arguments) -> dict[str, Tensor]:
            results = function(**{name: np.ascontiguousarray(x.numpy()) for name, x in given.items()})
            return {name: torch.tensor(x) for name, x in results.items()}

        row.errors[dialect] = functions.function_errors(run, expected)
