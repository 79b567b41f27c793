"""Models of quantized weights as machine code, against the interpreter of the very graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphwright.compiling.lowering import build_artifact
from graphwright.ir import Program
from tests.backends.models import MODELS, decoder
from tests.backends.quantizing import Scheme, quantized
from tests.backends.running import continued, vocabulary
from tests.backends.ties import follow
from tests.backends.tvm.bits import check_bits
from tests.backends.tvm.stepping import Stepping

FORMATS = {
    "w4a16": Scheme("i4", 32, table=True),
    "w4a8": Scheme("i4", 32, 32, table=True),
    "w8a8-asymmetric": Scheme("u8", 0, 0),
    "w4a8-minimum": Scheme("u4", 32, 32, table=True, scale="f16", minimum=True),
}
STEPS = [(6, [6]), (1, [1]), (4, [4]), (9, [9]), (1, [1])]
"""Tokens of each step of one row: prefill of few and of many rows of products, decode, verify."""


def follow_interpreter(program: Program, folder: Path) -> None:
    ((ids, logits),) = continued(Stepping(folder, 1, 24), STEPS, vocabulary(program))
    follow(program.graphs["prefill"], ids, logits)


@pytest.fixture(scope="module", params=FORMATS)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Program, Path]:
    """A program in one of the formats, and its artifact: to compile it takes long."""
    program = quantized(decoder(MODELS["qwen2"]), FORMATS[request.param])
    folder = tmp_path_factory.mktemp(request.param) / "a"
    build_artifact(program, folder, "tvm")
    return program, folder


def test_formats_equal_the_interpreter(compiled: tuple[Program, Path]) -> None:
    follow_interpreter(*compiled)


def test_bits_do_not_depend_on_what_else_a_step_takes(compiled: tuple[Program, Path]) -> None:
    program, folder = compiled
    check_bits(folder, vocabulary(program))
