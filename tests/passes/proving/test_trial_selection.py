"""What can be asked of a program, and what is said where nothing can."""

from __future__ import annotations

import pytest

from graphwright.ir import PassError, parse_program
from graphwright.passes import run_passes
from graphwright.passes.proving import InterpreterProver
from graphwright.passes.simplifying.canonicalize import Canonicalize
from tests.passes.graphs import program


@pytest.mark.parametrize(
    "text",
    [
        'program "none"\n',
        'program "other"\ngraph other(%x: f32[B]) {\n return y=%x\n}\n',
        'program "half"\ngraph prefill(%x: f32[B]) {\n return y=%x\n}\n',
    ],
)
def test_a_program_that_nothing_can_be_asked_of(text: str) -> None:
    with pytest.raises(PassError, match="cannot be proven: it has neither a graph 'forward' nor a graph 'prefill'"):
        run_passes(parse_program(text), [Canonicalize()], prover=InterpreterProver())


def test_graphs_that_are_not_run_are_named() -> None:
    other = "graph other(%x: f32[B]) {\n return y=%x\n}"
    subject = program(f"(%x: f32[B]) {{\n %y = neg(%x) : f32[B]\n return y=%y\n}}\n{other}")
    prover = InterpreterProver()
    prover.begin(subject)
    assert prover.notes == ["graph 'other' is not run"]
