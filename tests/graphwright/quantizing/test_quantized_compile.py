"""Schemes all the way into artifacts: they run, they are what the interpreter says, and they are small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphwright
from tests.backends.ties import follow
from tests.graphwright.commands import Commands

ROWS = np.random.default_rng(0).integers(3, 200, (2, 40))


@pytest.mark.parametrize("scheme", ["w8", "w4a16-g32", "w4a16-g32-asym", "w4a8-g32", "w4a8-g128-rtn", "w8a8"])
def test_an_artifact_answers_as_its_program_does(checkpoint: Path, scheme: str) -> None:
    program, report = graphwright.quantize(checkpoint, scheme)
    assert report.kl is not None
    compiled = graphwright.compile(checkpoint, quantize=scheme, threads=1)
    direct = graphwright.compile(program, assets=checkpoint, threads=1)
    np.testing.assert_array_equal(compiled.logits(ROWS.tolist()), direct.logits(ROWS.tolist()))
    apart = graphwright.evaluate(compiled, ROWS, against=program, interpreter=False).score
    assert apart.kl == pytest.approx(0, abs=1e-9)
    assert compiled.report is not None
    assert compiled.report.quantization is not None
    assert compiled.report.quantization.bytes_after == report.bytes_after
    for ids, logits in zip(ROWS.tolist(), compiled.logits(ROWS.tolist()), strict=True):
        follow(program.graphs["prefill"], ids, logits)


def test_the_command_line_says_what_became_smaller(commands: Commands, checkpoint: Path, tmp_path: Path) -> None:
    output = commands.succeed("compile", checkpoint, "-o", tmp_path / "out", "--quantize", "w4a8-g32")
    assert "stored   w4a8-g32: weights " in output
    commands.succeed("quantize", checkpoint, "--to", "w4a8-g32", "-o", tmp_path / "folder")
    ids = [[1, 2, 3]]
    compiled, rebuilt = (graphwright.load(tmp_path / name, threads=1).logits(ids) for name in ("out", "folder"))
    np.testing.assert_array_equal(compiled, rebuilt)


def test_calibrated_methods_compile(checkpoint: Path, tmp_path: Path) -> None:
    for scheme in ("w4a16-g32-gptq", "w4a16-g32-awq-gptq", "w8a8-smoothquant", "w4a8-g32+kv8"):
        options = graphwright.Quantization(scheme, "self", calibration_rows=4, calibration_length=32)
        compiled = graphwright.compile(checkpoint, quantize=options, threads=1)
        found = graphwright.evaluate(compiled, ROWS, against=checkpoint, threads=1).score
        assert found.kl is not None
        assert 0 < found.kl < 0.5


@pytest.mark.parametrize("dialect", ["portable", "ort"])
def test_an_export_is_quantized(checkpoint: Path, tmp_path: Path, dialect: str) -> None:
    sizes: list[int] = []
    for name, scheme in (("float", None), ("small", "w4a16-g32")):
        graphwright.export(checkpoint, tmp_path / name, dialect=dialect, quantize=scheme)
        sizes.append(sum(file.stat().st_size for file in (tmp_path / name).glob("model.onnx*")))
    assert sizes[1] < sizes[0]
