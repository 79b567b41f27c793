"""`graphwright opt` at work: printing around passes, reports, proofs and prices."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import jsonschema
import pytest

from graphwright.backends.tvm import TvmBackend
from graphwright.compiling.targets import check_choice
from graphwright.errors import UsageError
from graphwright.ir import Builder, Program, UnsupportedError, Value, ops
from graphwright.ir.rewriting import Match, Pattern, Rule, rule
from graphwright.passes import REGISTRY
from graphwright.passes.base import RulePass
from graphwright.reporting import pricer
from graphwright.reporting.pipeline_report import Workload
from graphwright.reporting.pipeline_schema import schema
from tests.graphwright import models
from tests.graphwright.commands import Commands
from tests.graphwright.pricing_fake import OpCounter

OWN = f"{Path(models.__file__)}:own"
TEXT = """program "small" {context_length=64}

graph forward(%x: f32[B, 4]) {
  %0 = neg(%x) : f32[B, 4]  at model.a
  %1 = neg(%x) : f32[B, 4]  at model.b
  %2 = mul(%0, %1) : f32[B, 4]  at model.c
  return y=%2
}
"""


def _neg(x: Pattern) -> Pattern:
    return ops.neg(x)


@rule(_neg)
def forget(match: Match, build: Builder) -> Value:
    """Wrong, to be found."""
    return match["x"]


@dataclass(frozen=True)
class Forgets(RulePass):
    """Drops signs."""

    name: ClassVar[str] = "forgets"
    rules: ClassVar[tuple[Rule, ...]] = (forget,)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line knows a pass that changes answers."""
    monkeypatch.setitem(REGISTRY, "forgets", Forgets)


@pytest.fixture
def priced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The only machine there is counts ops."""

    def find(machine: str | None, on_stage: object) -> Callable[[Workload], OpCounter | None]:
        if machine is not None:
            check_choice("machine", machine, ["abacus"])
        return lambda workload: None if machine is None else OpCounter(None, workload, machine)

    monkeypatch.setattr(pricer, "find_pricer", find)


def headings(errors: str) -> list[str]:
    return [line for line in errors.splitlines() if line.startswith("-- ")]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--print-before"], ["-- before canonicalize", "-- before fuse-norms", "-- before canonicalize"]),
        (["--print-before=fuse-norms"], ["-- before fuse-norms"]),
        (["--print-after"], ["-- after canonicalize", "-- after fuse-norms", "-- after canonicalize"]),
        (["--print-after=canonicalize"], ["-- after canonicalize", "-- after canonicalize"]),
        (["--print-changed"], ["-- canonicalize", "-- fuse-norms: no change", "-- canonicalize: no change"]),
        (["--print-changed=fuse-norms"], ["-- fuse-norms: no change"]),
        (["--print-before=fuse-norms", "--print-after=fuse-norms"], ["-- before fuse-norms", "-- after fuse-norms"]),
        (["--print-after", "--stop-after=fuse-norms"], ["-- after canonicalize", "-- after fuse-norms"]),
        (["--print-after", "--stop-after", "canonicalize"], ["-- after canonicalize"]),
    ],
)
def test_printing_around_passes(commands: Commands, options: list[str], expected: list[str]) -> None:
    outcome = commands.run("opt", *options, "-", "--passes", "canonicalize,fuse-norms,canonicalize", stdin=TEXT)
    assert outcome.status == 0
    assert headings(outcome.errors) == expected
    assert outcome.output.startswith('program "small"')
    if "--print-before" in options:
        assert outcome.errors.count(" = neg(") == 2 + 1 + 1


def test_arrays_in_memory_are_not_printed_around_passes(commands: Commands, tmp_path: Path) -> None:
    outcome = commands.run("opt", OWN, "--passes", "canonicalize", "--print-before", "-o", tmp_path / "own.gw")
    assert outcome.status == 0
    assert 'file("<memory>", "...") : f32[50, 16]' in outcome.errors


def test_models_in_any_form_and_one_command_after_another(
    commands: Commands, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = commands.succeed("opt", checkpoint, "--pipeline", "raise")
    text = commands.succeed("opt", "-", stdin=commands.succeed("trace", checkpoint))
    for name in json.loads(commands.succeed("opt", checkpoint, "--pipeline", "raise", "--json"))["passes"]:
        text = commands.succeed("opt", "-", "--passes", name["name"], stdin=text)
    assert text == whole
    assert "rms_norm" in text
    assert commands.succeed("opt", OWN, "--passes", "canonicalize").startswith('program "models.own"')


def test_a_large_array_in_memory_cannot_go_through_standard_output(commands: Commands, tmp_path: Path) -> None:
    text = "import torch\ndef wide(): return torch.nn.Linear(100, 100), torch.zeros(2, 100)\n"
    (tmp_path / "wide.py").write_text(text)
    assert "a weight of 10000 elements is held in memory" in commands.fail("opt", f"{tmp_path}/wide.py:wide")


@pytest.mark.usefixtures("priced")
def test_the_table(commands: Commands, tmp_path: Path) -> None:
    options = ["--passes", "canonicalize,fuse-norms", "--prove", "--price", "abacus", "--batch", "3"]
    output = commands.succeed("opt", "-", *options, "-o", tmp_path / "out.gw", stdin=TEXT)
    lines = output.splitlines()
    heading = next(line for line in lines if "near misses" in line)
    columns = ["pass", "hits", "near misses", "ops", "launches", "bytes", "prefill", "decode", "proof", "took"]
    assert heading.split() == " ".join(columns).split()
    first = next(line for line in lines if line.strip().startswith("canonicalize")).split()
    assert first[:9] == ["canonicalize", "1", "3", "→", "2", "2", "0", "B", "2"]
    assert "proven" in first
    assert next(line for line in lines if "fuse-norms" in line).split()[-3:-2] == ["exact"]
    assert "batch 3, a prompt of 64 tokens, decode with 64 in the cache" in output
    assert "times: roofline of abacus (made up)" in output
    assert (tmp_path / "out.gw").read_text().count(" = neg(") == 1


def test_the_table_without_a_machine_has_no_times(commands: Commands) -> None:
    passes = ",".join(["convert-dtype{to=f64}", *["canonicalize"] * 12])
    output = commands.succeed("opt", "-", "--passes", passes, "--prove", stdin=TEXT)
    assert 'convert-dtype{to="f64"}' in output  # rows are whole where there is no terminal
    assert "launches" in output
    assert "roofline" not in output
    assert "forward" not in output.splitlines()[1]


@pytest.mark.usefixtures("priced")
@pytest.mark.parametrize("options", [[], ["--prove"], ["--price", "abacus"]])
def test_json_keeps_to_the_schema(commands: Commands, options: list[str], tmp_path: Path) -> None:
    output = commands.succeed("opt", "-", "--passes", "canonicalize", "--json", *options, stdin=TEXT)
    report = json.loads(output)
    jsonschema.validate(report, schema())
    (row,) = report["passes"]
    assert row["hits"] == [{"rule": "common-subexpressions", "count": 1, "locations": []}]
    assert (row["proof"] is None) == ("--prove" not in options)
    assert (report["machine"] is None) == ("--price" not in options)
    assert report["pipeline"] == "canonicalize"
    assert "-  %1 = neg(%x) : f32[B, 4]  at model.b" in row["diff"]


@pytest.mark.usefixtures("faulty")
def test_a_fault_is_one_line_with_a_reproducer(
    commands: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = TEXT.replace("%1 = neg(%x)", "%1 = exp(%x)")
    arguments = ("opt", "-", "--passes", "canonicalize,forgets", "--prove", "-o", tmp_path / "out.gw")
    message = commands.fail(*arguments, stdin=odd)
    for part in ("forgets changes the answers", "mul at model.c", "rounding explains", "to see it again: "):
        assert part in message, message
    command = message.partition("to see it again: graphwright ")[2]
    assert command == "opt forgets-fails.gw --passes 'forgets' --prove"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forgets-fails.gw"]
    again = commands.fail("opt", "forgets-fails.gw", "--passes", "forgets", "--prove")
    assert "forgets changes the answers" in again


@pytest.mark.usefixtures("faulty")
def test_a_reproducer_that_cannot_be_written(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(program: Program, path: Path) -> None:
        raise UsageError(f"{path} cannot be written: Read-only file system")

    monkeypatch.setattr("graphwright.reporting.reproducer.write_program", refuse)
    odd = TEXT.replace("%1 = neg(%x)", "%1 = exp(%x)")
    message = commands.fail("opt", "-", "--passes", "forgets", "--prove", stdin=odd)
    assert "forgets changes the answers" in message
    assert message.endswith("no reproducer could be kept: forgets-fails.gw cannot be written: Read-only file system")


@pytest.mark.usefixtures("priced")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--stop-after", "fuse-nroms"], "there is no pass in this run named 'fuse-nroms': did you mean 'fuse-norms'?"),
        (["--stop-after", "specialize"], "there is no pass in this run named 'specialize'"),
        (["--print-after=canonicalise"], "did you mean 'canonicalize'?"),
        (["--print-before=canonicalise"], "did you mean 'canonicalize'?"),
        (["--print-changed=canonicalise"], "did you mean 'canonicalize'?"),
        (["--price", "abacuss"], "there is no machine 'abacuss': did you mean 'abacus'?"),
        (["--batch", "2"], "give --price MACHINE, or --json"),
        (["--price", "abacus", "--length", "65"], "a prompt of 65 tokens exceeds the 64 of the context of 'small'"),
        (["--price", "abacus", "--context", "65"], "a context of 65 tokens exceeds"),
        (["--price", "abacus", "--batch", "0"], "Invalid value for '--batch'"),
        (["--print-after", "fuse-norms"], "unexpected extra argument"),
        (["--stop-afer", "x"], "No such option: --stop-afer"),
    ],
)
def test_bad_options(commands: Commands, options: list[str], message: str) -> None:
    assert message in commands.fail("opt", "-", "--passes", "canonicalize,fuse-norms", *options, stdin=TEXT)


def test_bad_input(commands: Commands, tmp_path: Path) -> None:
    assert "absent.gw: cannot be read" in commands.fail("opt", tmp_path / "absent.gw")
    assert "absent does not exist" in commands.fail("opt", tmp_path / "absent")
    assert "there is no pipeline 'rise': did you mean 'raise'?" in commands.fail("opt", "-", "--pipeline", "rise")
    assert "<stdin>:1:1" in commands.fail("opt", "-", stdin="nonsense")


@pytest.mark.usefixtures("priced")
def test_the_launch_plan_follows_the_table(
    commands: Commands, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan_text(backend: TvmBackend, program: Program) -> str:
        return f"plans of {', '.join(program.graphs)}\n"

    def missing(backend: TvmBackend, program: Program) -> str:
        raise UnsupportedError("the TVM backend needs TVM")

    options = [checkpoint, "--pipeline", "cpu-tvm", "--price", "abacus"]
    monkeypatch.setattr(TvmBackend, "plan_text", plan_text)
    table, plans, rest = commands.succeed("opt", *options).partition("\nplans of prefill, decode, decode_one_row\n")
    assert "cpu-copies" in table
    assert plans
    assert not rest
    assert "plans of" not in commands.succeed("opt", *options, "--stop-after", "cpu-attention")
    monkeypatch.setattr(TvmBackend, "plan_text", missing)
    outcome = commands.run("opt", *options)
    assert outcome.status == 0
    assert "no launch plan is shown: the TVM backend needs TVM" in outcome.errors
