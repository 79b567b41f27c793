"""A small published model on its way down to kernels: proven pass by pass, and as machine code of few bits."""

from __future__ import annotations

from pathlib import Path

import pytest

import graphwright
from graphwright.compiling.lowering import build_artifact
from graphwright.compiling.targets import find_pipeline
from graphwright.ir import Program
from graphwright.passes import PIPELINES
from tests.backends.quantizing import quantized
from tests.backends.tvm.test_quantized import FORMATS, follow_interpreter

STORIES = Path(__file__).parents[4] / "shared/models/stories260k"
pytestmark = pytest.mark.skipif(not STORIES.is_dir(), reason="the shared model stories260k is not here")


@pytest.fixture(scope="module")
def program() -> Program:
    return graphwright.optimize(graphwright.trace(STORIES), "cpu")[0]


def test_the_way_down_to_kernels_is_proven_and_priced(program: Program) -> None:
    way_down = find_pipeline("cpu-tvm")[len(PIPELINES["cpu"]) :]
    after, report = graphwright.optimize(program, way_down, prove=True)
    proofs = [record.proof.status for record in report.records if record.proof is not None]
    assert len(proofs) == len(way_down)
    assert set(proofs) == {"proven", "exact"}
    assert set(after.graphs) == {"prefill", "decode", "decode_one_row"}
    launches = [record.costs["decode_one_row"].launches for record in report.records]
    assert (launches[0], launches[-1]) == (107, 54)


def test_sizes_that_groups_do_not_divide(program: Program, tmp_path: Path) -> None:
    coded = quantized(program.clone(), FORMATS["w4a8"])
    build_artifact(coded, tmp_path / "a", "tvm")
    follow_interpreter(coded, tmp_path / "a")
