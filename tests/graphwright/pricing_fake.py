"""A pricer whose prices are easy to check: a launch an op."""

from __future__ import annotations

from dataclasses import dataclass

from graphwright.ir import Program
from graphwright.reporting.pipeline_report import Kind, MachineRow, MemoryPoint, Phase, Price
from graphwright.reporting.pricer import Pricer


@dataclass(frozen=True)
class OpCounter(Pricer):
    """Every op is one launch and takes a millisecond, every weight a byte."""

    name: str = "abacus"

    @property
    def machine(self) -> MachineRow:
        rates = {"f32": 1e9}
        return MachineRow(
            name=self.name, flops_per_second=rates, bytes_per_second=1e9, launch_seconds=1e-3, source="made up"
        )

    def prices(self, program: Program) -> dict[Phase, Price]:
        ops = sum(len(graph) for graph in program.graphs.values())
        price = Price(
            flops=ops,
            weight_bytes=len(program.weights),
            activation_bytes=0,
            cache_bytes=0,
            launches=ops,
            peak_bytes=0,
            seconds=ops * 1e-3,
            limit="launch",
        )
        return {"prefill": price, "decode": price}

    def kinds(self, program: Program) -> list[Kind]:
        ops = sum(len(graph) for graph in program.graphs.values())
        return [Kind(phase="decode", op="any", count=ops, flops=ops, bytes=0, launches=ops, seconds=None, limit=None)]

    def memory(self, program: Program) -> list[MemoryPoint]:
        point = MemoryPoint(context=self.workload.decode_context, weights=len(program.weights), cache=0, activations=0)
        return [point]
