"""The table of methods and formats: a row says what its scheme does, or why it cannot."""

import io

import numpy as np
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner

from benchmarks.quality import __main__ as quality
from benchmarks.quality.measure import Row, measure
from benchmarks.quality.models import QualityModel, greedy
from benchmarks.quality.schemes import SCHEMES
from benchmarks.quality.table import quality_table
from graphwright.api import optimize, trace
from graphwright.evaluating.interpreter_language import InterpreterLanguageModel, sample_rows
from graphwright.passes.quantization import parse_scheme
from tests.graphwright import models


@pytest.fixture(scope="module")
def model() -> QualityModel:
    captured = trace(models.Own().eval())
    captured.metadata |= {"context_length": 300, "bos_token_ids": (1,)}
    program, _ = optimize(captured, "cpu")
    rows = sample_rows(InterpreterLanguageModel(program), 2, 24, seed=0)
    return QualityModel("own", program, rows, rows, greedy(program))


def test_a_row_compares_with_the_float_model(model: QualityModel) -> None:
    same = measure(model, "float32")
    assert (same.kl, same.agreement, same.same_greedy) == (0, 1, same.greedy_tokens)
    row = measure(model, "w4a16-g16-rtn+embedding=none")
    assert row.kl is not None
    assert row.kl > 0
    assert row.weight_bytes is not None
    assert same.weight_bytes is not None
    assert row.weight_bytes < same.weight_bytes
    # Keys and values of 16 float32 numbers.
    assert row.cache_bytes == 2 * 16 * 4


def test_the_table_has_a_row_for_each_scheme(model: QualityModel) -> None:
    rows = [Row("w4", 1.0, 0.5, 2.0, 0.75, 3, 8, 1500, 64.0), Row("kv8", 0.1, refused="no cache")]
    console = Console(width=200, file=io.StringIO())
    console.print(quality_table(model, rows))
    assert isinstance(console.file, io.StringIO)
    text = " ".join(console.file.getvalue().split())
    assert "│ w4 │ 0.5 │ 2.0000 │ 75.00% │ 3 of 8 │ 1.5 │ 64 │ 1.0 │" in text
    assert "│ kv8 │ refused │ no cache │" in text


def test_every_scheme_of_the_table_has_a_meaning() -> None:
    assert len(set(SCHEMES)) == len(SCHEMES)
    for scheme in SCHEMES:
        parse_scheme(scheme)


def test_an_unknown_model_is_refused() -> None:
    application = typer.Typer()
    application.command()(quality.main)
    assert CliRunner().invoke(application, ["--models", "llama"]).exit_code == 2


def test_greedy_text_follows_the_start_token(model: QualityModel) -> None:
    tokens = [1, *model.greedy]
    (block,) = InterpreterLanguageModel(model.program).blocks(np.array([tokens[:40]]), 40)
    assert block[0].argmax(-1).tolist()[:39] == tokens[1:40]
