"""Reports to draw: one of a real run of the bundled model; and small ones, made up."""

from __future__ import annotations

from pathlib import Path

import graphwright
from graphwright.ir import DType
from graphwright.ir.machines import Machine
from graphwright.passes import named_pipeline
from graphwright.passes.proving import InterpreterProver
from graphwright.reporting.pipeline_recording import record_pipeline
from graphwright.reporting.pipeline_report import Hit, Kind, Miss, PassRow, PipelineReport, Price, Proof, Workload
from graphwright.reporting.pricer import Pricer
from graphwright.reporting.pricing import machine_row

STORYTELLER = Path(__file__).parents[4] / "examples" / "models" / "storyteller"
WORKLOAD = Workload(batch=1, prefill_length=256, decode_context=128)
LAPTOP = Machine(
    "laptop", {DType.F32: 1.1e11, DType.F64: 5.4e10, DType.BF16: 1.1e11}, 1.9e10, 1.5e-6, "made up for tests"
)
MACHINE = machine_row(LAPTOP)


def storyteller() -> PipelineReport:
    """The bundled model through the default pipeline, proven and priced; a near miss and a time are made up."""
    program = graphwright.trace(STORYTELLER)
    report = record_pipeline(
        program,
        named_pipeline("default"),
        WORKLOAD,
        pipeline="default",
        pricer=Pricer(LAPTOP, WORKLOAD),
        prover=InterpreterProver(),
    )
    miss = Miss(rule="fuse-rms-norm", location="model.norm", matched=3, reason="expected mul, found add")
    passes = [
        row.model_copy(update={"near_misses": [miss]}) if row.name == "fuse-norms" else row for row in report.passes
    ]
    made_up = {"measured_seconds": {"decode": 3.3e-4}, "notes": ["a remark of the proof"]}
    return report.model_copy(update={"passes": passes, **made_up})


def price(scale: float = 1.0, seconds: float | None = 1e-3) -> Price:
    return Price(
        flops=int(1e9 * scale),
        weight_bytes=int(4e6 * scale),
        activation_bytes=int(1e6 * scale),
        cache_bytes=0,
        launches=int(100 * scale),
        peak_bytes=int(8e6 * scale),
        seconds=None if seconds is None else seconds * scale,
        limit=None if seconds is None else "memory",
    )


def row(name: str = "canonicalize", **changes: object) -> PassRow:
    """A pass that changed something, proven."""
    fields = {
        "name": name,
        "lossy": False,
        "seconds": 0.01,
        "ops_before": 30,
        "ops_after": 20,
        "hits": [Hit(rule="merge-reshapes", count=2, locations=["model.layers.0", "model.layers.1"])],
        "near_misses": [Miss(rule="fuse-rms-norm", location="model.norm", matched=3, reason="expected mul, found add")],
        "proof": Proof(status="proven", error=1e-7, bound=1e-5, seconds=0.2),
        "prices": {"forward": price(0.5)},
        "diff": "@@ -1,2 +1,2 @@\n graph forward\n-  %0 = exp(%x) : f32[S]\n+  %0 = tanh(%x) : f32[S]",
    }
    return PassRow.model_validate({**fields, **changes})


def small(**changes: object) -> PipelineReport:
    """A plain function after one pass."""
    fields = {
        "graphwright": "0.1.0",
        "program": "small",
        "pipeline": "function",
        "workload": Workload(batch=1, prefill_length=128, decode_context=128),
        "machine": MACHINE,
        "before": {"forward": price()},
        "passes": [row()],
        "kinds": [
            Kind(
                phase="forward",
                op="linear",
                count=4,
                flops=10**9,
                bytes=4 * 10**6,
                launches=4,
                seconds=1e-2,
                limit="compute",
            )
        ],
        "memory": [],
        "measured_seconds": {},
        "notes": [],
        "graph": 'program "small"\n\ngraph forward(%x: f32[S]) {\n  %0 = tanh(%x) : f32[S]  at act\n  return y=%0\n}\n',
    }
    return PipelineReport.model_validate({**fields, **changes})
