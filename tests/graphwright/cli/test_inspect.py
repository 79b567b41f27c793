"""`graphwright inspect --plan`, and with `--price`."""

from __future__ import annotations

import json
from pathlib import Path

from graphwright.backends.plan import print_plans
from graphwright.ir import read_program
from graphwright.runtime.artifact import PLAN_FILE
from graphwright.runtime.artifact.hashing import hash_files
from tests.backends.plan.making import whole_plan
from tests.graphwright.commands import Commands

TEXT = "// How it runs\nplan forward(B) {\n}\n"


def with_plan(folder: Path, text: str) -> None:
    """Adds a plan to an artifact, as a backend does that has one."""
    (folder / PLAN_FILE).write_text(text, encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (entry,) = hash_files([folder / PLAN_FILE])
    manifest["files"][PLAN_FILE] = entry.model_dump()
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_the_plan_of_an_artifact_is_printed_as_it_is(commands: Commands, artifact_copy: Path) -> None:
    with_plan(artifact_copy, TEXT)
    assert commands.succeed("inspect", artifact_copy, "--plan") == TEXT
    assert f"{PLAN_FILE}, {len(TEXT)} B" in commands.succeed("inspect", artifact_copy)
    (artifact_copy / PLAN_FILE).write_text(TEXT.replace("runs", "ruts"), encoding="utf-8")
    assert f"{PLAN_FILE} is damaged" in commands.fail("inspect", artifact_copy, "--plan")


def test_what_has_no_plan_is_said(commands: Commands, artifact: Path) -> None:
    problem = commands.fail("inspect", artifact, "--plan")
    assert problem == f"{artifact} has no {PLAN_FILE}: onnx plans its launches itself"
    lowered = artifact / "lowered.gw"
    assert f"--plan is for artifacts; {lowered} is a program" in commands.fail("inspect", lowered, "--plan")


def test_plans_are_priced_by_phase(commands: Commands, artifact_copy: Path) -> None:
    program = read_program(artifact_copy / "lowered.gw")
    plans = [whole_plan(graph) for graph in program.graphs.values()]
    text = print_plans(plans)
    with_plan(artifact_copy, text)
    shown = commands.succeed("inspect", artifact_copy, "--plan", "--price", "h100")
    (plan,) = plans
    launches, waits = len(plan.launches), sum(stage.waits for stage in plan.stages)
    assert "prefill: graph prefill of B = 1, C = 64, N = 1, S = 64" in shown
    assert "decode: graph prefill of B = 1, C = 64, N = 1, S = 1" in shown
    assert shown.count(f"together: {launches} launches, {launches} stages, {waits} waits; workspace ") == 2
    assert "times: roofline of h100" in shown
    for words, problem in (
        (["--price", "h100"], "--price prices launch plans: give --plan with it"),
        (["--plan", "--kernels"], "--plan and --kernels each print one thing only: give one of them"),
        (["--plan", "--price", "h999"], "there is no machine 'h999'"),
    ):
        assert problem in commands.fail("inspect", artifact_copy, *words)
    with_plan(artifact_copy, text.replace("stage ", "stages ", 1))
    problem = commands.fail("inspect", artifact_copy, "--plan", "--price", "h100")
    assert problem.startswith(f"{artifact_copy / PLAN_FILE}:")
    assert "found 'stages'" in problem
