"""CPUs that are asked for by name, and several in one artifact."""

from __future__ import annotations

import importlib.util
from importlib.machinery import ModuleSpec
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from graphwright.backends.tvm import linking
from graphwright.backends.tvm.cpu import host_cpu
from graphwright.backends.tvm.lower import plan_for_cpus, plan_graphs
from graphwright.backends.tvm.targets import LEVELS, find_target
from graphwright.compiling.compiler import Options
from graphwright.compiling.lowering import build_artifact
from graphwright.compiling.targets import split_target
from graphwright.errors import OptionError
from graphwright.ir import Builder, Graph, Program, UserError, ops, tensor
from graphwright.ir.weights import StoredArray
from graphwright.runtime import SessionError, load_function
from tests.graphwright.commands import Commands


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    return Commands(capsys, monkeypatch)


def test_machines_stand_behind_the_colon_of_a_target() -> None:
    assert split_target("cpu") == ("cpu", None)
    assert split_target("cpu:v3,cpu:v4+vnni,native") == ("cpu", "v3,v4+vnni,native")
    options = Options(target="cpu:v3,cpu:v4")
    assert (options.backend, options.target, options.backend_options) == ("tvm", "cpu", {"cpus": "v3,v4"})
    assert Options().backend == "onnx"


def test_other_names_are_refused_in_a_line_that_lists_what_there_is() -> None:
    known = r"there is native, v3, v4, v4\+vnni, v4\+vnni\+bf16, aarch64\+dotprod"
    with pytest.raises(UserError, match=f"^there is no CPU 'v5' to compile for: {known}$"):
        Options(target="cpu:v3,cpu:v5").check()
    with pytest.raises(OptionError, match="target names v3, and the backend 'onnx' takes no machines by name"):
        Options(backend="onnx", target="cpu:v3")
    with pytest.raises(OptionError, match="cpus are named in the target too: name them in one place"):
        Options(target="cpu:v3", backend_options={"cpus": "v4"})


def test_a_missing_linker_for_other_machines_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without_zig(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name == linking.CROSS_COMPILER else found(name, package)

    monkeypatch.setattr(linking, "find_spec", without_zig)
    Options(target="cpu:v3").check()
    with pytest.raises(UserError, match=r"for aarch64\+dotprod: Zig links for .* not installed: pip install ziglang"):
        Options(target="cpu:aarch64+dotprod").check()


def test_each_level_has_what_the_one_below_it_has() -> None:
    for below, level in pairwise(LEVELS.values()):
        assert below.features < level.features
        assert {*below.required} < {*level.required}


def function() -> Program:
    program = Program("test")
    graph = program.add_graph(Graph("forward"))
    x = graph.add_input("x", tensor("f32", "B", 4))
    graph.outputs = {"y": Builder(graph)(ops.exp, x)}
    return program


def test_a_weight_is_stored_once_for_all_that_read_it_in_one_layout() -> None:
    program = Program("test")
    graph = program.add_graph(Graph("forward"))
    weight = graph.weight(program.add_weight("w", StoredArray.of(torch.ones(32, 8))))
    graph.outputs = {"y": Builder(graph)(ops.linear, graph.add_input("x", tensor("f32", "B", 8)), weight)}
    alone = plan_graphs([graph], LEVELS["v3"])
    both = plan_for_cpus([graph], [LEVELS["v4+vnni"], LEVELS["v3"]])
    names = [weight.name for weight in alone.weights]
    assert [[weight.name for weight in each.weights] for each in both] == [names, names]
    assert [each.layout for each in both] == 2 * [alone.layout]


def test_an_artifact_for_several_runs_the_best_that_the_machine_has(tmp_path: Path, commands: Commands) -> None:
    program = build_artifact(function(), tmp_path / "a", "tvm", cpus="v3,v4+vnni").manifest.program
    assert [(each.target, each.file) for each in program.versions] == [
        ("v4+vnni", "program.v4+vnni.so"),
        ("v3", "program.v3.so"),
    ]
    assert program.files == ("program.v4+vnni.so", "program.v3.so", "weights.safetensors")
    able = [name for name in ("v4+vnni", "v3") if host_cpu().features >= find_target(name).cpu.features]
    if able:
        loaded = load_function(tmp_path / "a")
        assert loaded.session.program.target == able[0]
        x = np.linspace(-1, 1, 8, dtype=np.float32).reshape(2, 4)
        np.testing.assert_allclose(loaded(x=x)["y"], np.exp(x), rtol=1e-6)
    shown = commands.succeed("inspect", tmp_path / "a")
    assert "cpu        v4+vnni, program.v4+vnni.so, needs abm avx2 avx512_vnni" in shown
    assert "cpu        v3, program.v3.so, needs abm avx2 bmi1 bmi2 f16c fma movbe\n" in shown


def test_what_nobody_has_measured_says_so_and_is_refused_here(tmp_path: Path, commands: Commands) -> None:
    if linking.missing_linker("aarch64-linux-gnu"):
        pytest.skip("there is no compiler for other machines: pip install ziglang")
    build_artifact(function(), tmp_path / "a", "tvm", cpus="aarch64+dotprod")
    shown = commands.succeed("inspect", tmp_path / "a")
    assert "cpu        aarch64+dotprod, program.so, needs asimd asimddp, untuned: nobody has measured it\n" in shown
    with pytest.raises(SessionError, match="features that this machine lacks: asimd, asimddp; compile"):
        load_function(tmp_path / "a")
