"""Kernels taken apart."""

from __future__ import annotations

from typing import Any

import pytest

from graphwright.backends.tvm.region.code import key
from graphwright.ir import UnsupportedError
from tests.backends.tvm.region import kernels


def test_stages_of_a_kernel_know_what_they_read_and_write() -> None:
    kernel = kernels.split("three", kernels.three_stages)
    names = {key(v): v.name for v in (*kernel.parameters, *kernel.scratch)}

    def named(keys: frozenset[int]) -> list[str]:
        return sorted(names[k] for k in keys)

    assert [str(stage.extent) for stage in kernel.stages] == ["rows", "None", "rows"]
    assert [(named(s.reads), named(s.writes)) for s in kernel.stages] == [
        (["x"], ["doubled"]),
        (["doubled", "largest"], ["largest"]),
        (["doubled", "largest"], ["y"]),
    ]
    assert [v.name for v in kernel.scratch] == ["doubled", "largest"]
    assert [[v.name for v in stage.sizes] for stage in kernel.stages] == [["rows"], ["rows"], ["rows"]]


def test_a_stage_reads_what_the_values_that_it_uses_are_read_from() -> None:
    kernel = kernels.split("bound", kernels.value_bound_at_the_top)
    (stage,) = kernel.stages
    names = {key(v): v.name for v in kernel.parameters}
    assert sorted(names[k] for k in stage.reads) == ["count", "x"]


def test_neighbours_that_one_thread_runs_are_a_stage_but_for_what_reads_a_value_before() -> None:
    kernel = kernels.split("between", kernels.value_bound_between)
    names = {key(v): v.name for v in kernel.parameters}
    assert [sorted(names[k] for k in stage.writes) for stage in kernel.stages] == [["count"], ["y"]]


def test_neighbours_may_bind_one_variable_to_different_values() -> None:
    (stage,) = kernels.split("twice", kernels.one_variable_twice).stages
    text = stage.function.script()
    assert "x[0]" in text
    assert "x[1]" in text


def test_a_parallel_stage_runs_a_threads_share_of_the_iterations() -> None:
    stage = kernels.split("three", kernels.three_stages).stages[0]
    text = stage.function.script()
    assert "part + 1" in text
    assert "T.parallel" not in text
    assert [p.name for p in stage.function.params[:2]] == ["part", "parts"]


@pytest.mark.parametrize("function", [kernels.parallel_below, kernels.parallel_within])
def test_a_parallel_loop_below_the_top_is_refused_by_name(function: Any) -> None:
    with pytest.raises(UnsupportedError, match="kernel 'flawed': a parallel loop stands below the top; move it up"):
        kernels.split("flawed", function)


def test_stages_in_different_arms_of_a_branch_are_told() -> None:
    kernel = kernels.split("alternatives", kernels.alternatives)
    assert [stage.arms for stage in kernel.stages] == [((0, 0),), ((0, 1), (1, 0)), ((0, 1), (1, 1)), ()]
