"""Formats by budget as a pass: the budget is kept, as measured, and what was chosen can be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from graphwright.ir import PassError, Program, UserError, parse_program, print_program
from graphwright.passes import parse_passes, run_passes
from graphwright.passes.manager import PassRecord
from tests.passes.compression.model import language_model, logits, token_file, tokens_in


def chosen(options: str, folder: Path) -> tuple[Program, PassRecord]:
    program = language_model()
    (record,) = run_passes(program, parse_passes(f"mixed-precision{{{options}, tokens={token_file(folder)}}}")).records
    return program, record


def divergence(program: Program, folder: Path) -> float:
    tokens = tokens_in(token_file(folder))
    p, q = (logits(each, tokens).log_softmax(-1) for each in (language_model(), program))
    return float((p.exp() * (p - q)).sum(-1).mean())


def bits(program: Program) -> float:
    types = [op.required("weight").type for op in program.graphs["decode"] if op.name == "linear"]
    return sum(t.bits.evaluate({}) for t in types) / sum(t.elements.evaluate({}) for t in types)


@pytest.mark.parametrize("most", [1e-4, 0.003, 0.05])
def test_a_budget_of_loss_is_kept_and_mostly_used(tmp_path: Path, most: float) -> None:
    program, record = chosen(f"max_kl={most}, formats=i3-g16+i4-g16+i8-g0+float", tmp_path)
    assert record.lossy
    assert sum(record.hits.values()) == 3
    loss = divergence(program, tmp_path)
    assert loss <= most * (1 + 1e-4)  # the pass measures in float32
    (told,) = (str(miss) for miss in record.near_misses)
    match = re.fullmatch(r"mixed-precision: (\S+) nats a token measured, \S+ predicted, at (\S+) bits a weight", told)
    assert match is not None
    assert float(match[1]) == pytest.approx(loss, rel=0.01)
    assert float(match[2]) == pytest.approx(bits(program), abs=0.001)
    text = print_program(program)
    assert print_program(parse_program(text)) == text


def test_a_larger_budget_costs_less(tmp_path: Path) -> None:
    sizes = [bits(chosen(f"max_kl={most}, formats=i3-g16+i8-g0+float", tmp_path)[0]) for most in (1e-7, 0.003, 9.0)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 32
    # everything at 3 bits, and a scale for the 8 or 20 inputs of each row, in one or two groups
    assert sizes[-1] == 3 + 32 * (20 + 8 * 2 + 40) / (20 * 8 + 8 * 20 + 40 * 8)


def test_a_budget_of_bits_is_kept_and_loses_less_than_one_format(tmp_path: Path) -> None:
    program, record = chosen("bits=9, formats=i2-g0+i4-g0+i8-g0", tmp_path)
    assert bits(program) <= 9
    assert set(record.hits) <= {"i2-g0", "i4-g0", "i8-g0"}
    assert {location for places in record.places.values() for location in places} == {"model.up", "model.down", "head"}
    uniform = language_model()
    run_passes(uniform, parse_passes("quantize-weights{to=i4, group=0}"))
    assert bits(uniform) <= 9
    assert divergence(program, tmp_path) <= divergence(uniform, tmp_path)


def test_time_is_the_machine_s(tmp_path: Path) -> None:
    """Where launches bind no format is faster than another, and what loses least is as good: nothing is rounded."""
    program, record = chosen("max_kl=9.0, machine=h100, formats=i4-g0+float", tmp_path)
    assert record.hits == {"float": 3}
    assert bits(program) == 32
    with pytest.raises(UserError, match=r"^there is no machine 'h10'"):
        chosen("max_kl=9.0, machine=h10", tmp_path)


def test_weights_that_all_stay_are_counted(tmp_path: Path) -> None:
    program, record = chosen("max_kl=1e-12", tmp_path)
    assert record.hits == {"float": 3}
    assert print_program(program) == print_program(language_model())


def test_an_embedding_keeps_the_table_that_it_shares_with_the_head(tmp_path: Path) -> None:
    program, _ = chosen("bits=20, formats=i8-g0", tmp_path)
    assert {"table", "table.i8-g0"} <= set(program.weights)
    assert torch.equal(program.weights["table"].evaluate(), language_model().weights["table"].evaluate())


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("", "mixed-precision: give max_kl=NATS or bits=NUMBER, one of them"),
        ("max_kl=0.1, bits=4.0", "mixed-precision: give max_kl=NATS or bits=NUMBER, one of them"),
        ("bits=-4.0", "mixed-precision: give max_kl=NATS or bits=NUMBER, one of them"),
        ("bits=4.5, formats=i4-g31", "mixed-precision: there is no format 'i4-g31'"),
        ("bits=4.5", "this pass needs calibration tokens"),
    ],
)
def test_what_is_refused(options: str, wanted: str) -> None:
    with pytest.raises(PassError, match=f"^{wanted}"):
        run_passes(language_model(), parse_passes(f"mixed-precision{{{options}}}"))


def test_a_budget_that_nothing_meets_says_what_comes_nearest(tmp_path: Path) -> None:
    with pytest.raises(
        PassError, match=r"^mixed-precision: the formats i3-g0\+i4-g0 take \d\.\d{3} bits a weight or more"
    ):
        chosen("bits=3.0, formats=i3-g0+i4-g0", tmp_path)
    with pytest.raises(
        PassError, match=r"^mixed-precision: the formats i3-g0 lose \S+ nats a token or more, at \S+ bits"
    ):
        chosen("max_kl=1e-5, formats=i3-g0", tmp_path)
