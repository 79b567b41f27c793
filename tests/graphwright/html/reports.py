"""Reports to draw: one of a real run of the bundled model, with prices and proofs made up; and small ones."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import graphwright
from graphwright.ir import Program, print_program
from graphwright.ir.cost import graph_cost
from graphwright.passes import difference, named_pipeline, run_passes
from graphwright.pipeline_report import (
    Hit,
    Kind,
    MachineRow,
    MemoryPoint,
    Miss,
    PassRow,
    Phase,
    PipelineReport,
    Price,
    Proof,
    Setting,
)

STORYTELLER = Path(__file__).parents[3] / "examples" / "models" / "storyteller"
SETTING = Setting(batch=1, prefill_length=256, decode_context=128)
MACHINE = MachineRow(
    name="laptop",
    flops_per_second={"f32": 1.1e11, "f64": 5.4e10, "bf16": 1.1e11},
    bytes_per_second=1.9e10,
    launch_seconds=1.5e-6,
    source="made up for tests",
)
FLOPS = MACHINE.flops_per_second["f32"]


def storyteller() -> PipelineReport:
    """The bundled model through the default pipeline: a real run, at prices of the sum over the ops."""
    program = graphwright.trace(STORYTELLER)
    passes = named_pipeline("default")
    before = _prices(program)
    after: list[dict[Phase, Price]] = []
    diffs: list[str] = []

    def observe(_: object, text: str, changed: str) -> None:
        diffs.append(difference(text, changed))
        after.append(_prices(program))

    report = run_passes(program, passes, observe)
    rows = [
        PassRow(
            name=record.name,
            lossy=record.lossy,
            seconds=record.seconds,
            ops_before=record.ops_before,
            ops_after=record.ops_after,
            hits=[
                Hit(rule=rule, count=count, locations=[f"model.layers.{i}" for i in range(count)])
                for rule, count in record.hits.items()
            ],
            near_misses=[
                Miss(rule=miss.rule, location=miss.location, matched=miss.matched, reason=miss.reason)
                for miss in record.near_misses
            ],
            proof=Proof(status="proven", error=3.1e-7 * (1 + i), bound=2.4e-5, seconds=0.1)
            if diffs[i]
            else Proof(status="exact"),
            prices=after[i],
            diff=diffs[i],
        )
        for i, record in enumerate(report.records)
    ]
    return PipelineReport(
        graphwright=graphwright.__version__,
        program=program.name,
        pipeline="default",
        setting=SETTING,
        machine=MACHINE,
        before=before,
        passes=rows,
        kinds=_kinds(program),
        memory=[
            MemoryPoint(context=n, weights=4_724_224, cache=n * 2560, activations=40_000 + 16 * n)
            for n in (1, 64, 128, 256, 384, 512)
        ],
        measured_seconds={"decode": 3.3e-4},
        notes=["the proof ran on 2 of 5 layers, which are alike"],
        graph=print_program(program),
    )


def _bindings(phase: Phase) -> dict[str, int]:
    if phase == "prefill":
        return {"B": 1, "S": SETTING.prefill_length, "N": 1, "C": SETTING.prefill_length}
    return {"B": 1, "S": 1, "N": 1, "C": SETTING.decode_context}


def _graph(program: Program, phase: Phase) -> str:
    return phase if phase in program.graphs else "prefill" if "prefill" in program.graphs else "forward"


def _prices(program: Program) -> dict[Phase, Price]:
    weights = sum(weight.type.bits.evaluate({}) for weight in program.weights.values()) // 8
    prices: dict[Phase, Price] = {}
    for phase in ("prefill", "decode"):
        name = _graph(program, phase)
        # Without a cache, a decode step reads the whole context again.
        bindings = _bindings(phase) | ({"S": SETTING.decode_context} if name == "forward" else {})
        cost = graph_cost(program.graphs[name])
        flops, launches = cost.flops.evaluate(bindings), cost.launches.evaluate(bindings)
        moved = (cost.read + cost.written).evaluate(bindings) // 8
        seconds, limit = _roofline(flops, moved, launches)
        prices[phase] = Price(
            flops=flops,
            weight_bytes=weights,
            activation_bytes=max(0, moved - weights),
            cache_bytes=0,
            launches=launches,
            peak_bytes=weights + moved // 8,
            seconds=seconds,
            limit=limit,
        )
    return prices


def _kinds(program: Program) -> list[Kind]:
    kinds: list[Kind] = []
    for phase in ("prefill", "decode"):
        totals: dict[str, Counter[str]] = {}
        for op in program.graphs[_graph(program, phase)]:
            cost = op.definition.price(op)
            bindings = _bindings(phase)
            totals.setdefault(op.name, Counter()).update(
                count=1,
                flops=cost.flops.evaluate(bindings),
                bytes=(cost.read + cost.written).evaluate(bindings) // 8,
                launches=cost.launches.evaluate(bindings),
            )
        for name, sums in totals.items():
            seconds, limit = _roofline(sums["flops"], sums["bytes"], sums["launches"])
            kinds.append(Kind(phase=phase, op=name, **sums, seconds=seconds, limit=limit))
    return kinds


def _roofline(flops: int, moved: int, launches: int) -> tuple[float, Literal["compute", "memory", "launch"]]:
    times: dict[Literal["compute", "memory", "launch"], float] = {
        "compute": flops / FLOPS,
        "memory": moved / MACHINE.bytes_per_second,
        "launch": launches * MACHINE.launch_seconds,
    }
    limit = max(times, key=lambda each: times[each])
    return times[limit], limit


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
        "setting": Setting(batch=1, prefill_length=128, decode_context=128),
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
