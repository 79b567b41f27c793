"""What a run of passes says of itself, as data, and that its schema is the one in docs."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

import graphwright
from graphwright.errors import UsageError
from graphwright.ir import Program
from graphwright.passes import PIPELINES, REGISTRY, Pass, parse_passes
from graphwright.passes.proving import Proof
from graphwright.reporting.pipeline_recording import record_pipeline
from graphwright.reporting.pipeline_report import PipelineReport
from graphwright.reporting.pipeline_schema import schema
from graphwright.reporting.workload import choose_workload
from tests.graphwright import models
from tests.graphwright.pricing_fake import OpCounter

SCHEMA = Path(__file__).parents[3] / "docs" / "pipeline-report.schema.json"


@pytest.fixture(scope="module")
def traced() -> Program:
    program = graphwright.trace(models.Own())
    program.metadata["context_length"] = 64
    return program


class Told:
    """Believes every pass, and has something to say about that."""

    notes = ("nothing was run",)

    def begin(self, program: Program) -> None:
        pass

    def check(self, each: Pass, program: Program) -> Proof:
        return Proof("proven", 1e-7, 1e-6, seconds=0.5)


def test_every_pass_is_told(traced: Program) -> None:
    program, stages = traced.clone(), list[str]()
    workload = choose_workload(program)
    report = record_pipeline(
        program,
        PIPELINES["default"],
        workload,
        pipeline="default",
        pricer=OpCounter(None, workload),
        prover=Told(),
        on_stage=stages.append,
    )
    assert (report.program, report.pipeline, report.notes) == ("Own", "default", ["nothing was run"])
    assert report.machine is not None
    assert report.machine.name == "abacus"
    assert [row.name for row in report.passes] == [str(each) for each in PIPELINES["default"]]
    assert stages == [f"{stage}: {row.name}" for row in report.passes for stage in ("optimize", "prove")]
    ops = [report.before["decode"].launches, *(row.prices["decode"].launches for row in report.passes)]
    assert ops == [report.passes[0].ops_before, *(row.ops_after for row in report.passes)]
    assert all(row.proof is not None and row.proof.bound == 1e-6 for row in report.passes)
    assert [bool(row.diff) for row in report.passes] == [
        bool(row.hits) or row.name == "insert-kv-cache" for row in report.passes
    ]
    (kind,), (point,) = report.kinds, report.memory
    assert (kind.count, point.context) == (ops[-1], 64)
    assert "graph decode(" in report.graph
    assert 'file("<memory>", "...")' in report.graph


def test_hits_are_declared_and_have_their_modules(traced: Program) -> None:
    report = record_pipeline(traced.clone(), PIPELINES["default"], choose_workload(traced))
    for row in report.passes:
        declared = REGISTRY[row.name.partition("{")[0]].rule_names()
        assert {hit.rule for hit in row.hits} | {miss.rule for miss in row.near_misses} <= set(declared)
    (cache,) = next(row.hits for row in report.passes if row.name == "insert-kv-cache")
    assert (cache.rule, cache.count) == ("cache", 1)


def test_the_schema_is_that_of_the_documents() -> None:
    """If this fails: python -m graphwright.reporting.pipeline_schema > docs/pipeline-report.schema.json."""
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == schema()


def test_what_is_printed_validates_and_reads_back(traced: Program) -> None:
    workload = choose_workload(traced, batch=2, length=9, context=20)
    passes = parse_passes("canonicalize,raise-heads,fuse-norms")
    for pricer, prover in ((None, None), (OpCounter(None, workload), Told())):
        report = record_pipeline(traced.clone(), passes, workload, pricer=pricer, prover=prover)
        text = report.model_dump_json()
        jsonschema.validate(json.loads(text), json.loads(SCHEMA.read_text(encoding="utf-8")))
        assert PipelineReport.model_validate_json(text) == report
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(json.loads(text) | {"passes": [{}]}, schema())


def test_sizes_keep_within_the_context(traced: Program) -> None:
    assert choose_workload(traced).model_dump() == {"batch": 1, "prefill_length": 64, "decode_context": 64}
    assert choose_workload(Program("free")).model_dump() == {"batch": 1, "prefill_length": 512, "decode_context": 128}
    with pytest.raises(UsageError, match="a prompt of 65 tokens exceeds the 64 of the context of 'Own'"):
        choose_workload(traced, length=65)
    with pytest.raises(UsageError, match="a context of 65 tokens exceeds"):
        choose_workload(traced, context=65)
