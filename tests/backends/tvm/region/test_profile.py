"""Threads of a profiled library note when they come to each stage; others have no such table."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.step_profile import Noted, Times, summed
from graphwright.backends.tvm.cpu import GENERIC
from graphwright.backends.tvm.region.plan_code import PROFILE
from graphwright.ir import Builder, Graph, Program, ops, tensor
from tests.backends.tvm.steps import Steps


def softmax_twice() -> Graph:
    g = Program("test").add_graph(Graph("step"))
    b = Builder(g)
    x = g.add_input("x", tensor("f32", 4, 64))
    once = b(ops.softmax, x, axis=-1)
    g.outputs = {"y": b(ops.softmax, b(ops.transpose, once, permutation=(1, 0)), axis=-1)}
    return g


def test_stages_are_stamped_in_order(tmp_path: Path) -> None:
    steps = Steps([softmax_twice()], tmp_path, GENERIC, profiled=True)
    steps.run("step", {"x": torch.ones(4, 64)}, threads=1)
    path, plan = tmp_path / "steps.so", steps.plans["step"]
    stamps, region = Noted.of(ctypes.CDLL(str(path.resolve())), 2, len([*plan.stages])).seconds()
    assert np.isnan(stamps[1]).all(), "the second thread took no part"
    moments = stamps[0].reshape(-1)
    assert (np.diff(moments) >= 0).all(), "no stage begins before the one in front of it has ended"
    assert 0 <= moments[0] <= moments[-1] <= region
    times = Times(stamps[None, :1], np.array([region]), np.array([region]))
    lines = summed(plan, times, {})
    assert sum(line.count for line in lines) == len([*plan.stages])
    assert sum(line.elapsed for line in lines) == pytest.approx(moments[-1])


def test_a_library_is_not_profiled_unless_asked_for(tmp_path: Path) -> None:
    Steps([softmax_twice()], tmp_path, GENERIC)
    path = tmp_path / "steps.so"
    with pytest.raises(ValueError, match="undefined symbol"):
        ctypes.c_int64.in_dll(ctypes.CDLL(str(path.resolve())), PROFILE)
