"""One shape's measurements as tables and as data."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from rich.console import Console

from benchmarks.measurements import Measurements, Workload
from benchmarks.peers.systems import MATRIX_BITS, System
from benchmarks.results import BestPeer, best_peers, figures
from benchmarks.shapes import ModelShape
from benchmarks.tables import best_peers_table, size_table, speed_table


class Summary:
    """Figures of every system that was measured, and of ours beside the best peers of the same format."""

    def __init__(
        self, shape: ModelShape, systems: Sequence[System], workload: Workload, measurements: Measurements
    ) -> None:
        self._shape = shape
        self._workload = workload
        self._measurements = measurements
        self._weight_bytes = {name: shape.decode_bytes(bits) for name, bits in MATRIX_BITS.items()}
        samples = measurements.systems
        measured = [system for system in systems if system.name in samples]
        self._figures = {
            system.name: figures(
                samples[system.name],
                measurements,
                workload,
                self._weight_bytes[system.format],
                shape.token_cache_bytes,
            )
            for system in measured
        }
        self._best: dict[str, dict[str, BestPeer]] = {}
        for system in measured:
            peers = {p.name: samples[p.name] for p in measured if not p.is_ours and p.format == system.format}
            if system.is_ours and peers:
                self._best[system.name] = best_peers(samples[system.name], peers)

    def print(self, out: Console) -> None:
        """The tables, then the reason of each system that failed, then versions."""
        workload, measurements = self._workload, self._measurements
        contexts, failures = workload.decode_contexts, measurements.failures
        title = (
            f"{self._shape.name}: prefill {workload.prefill_tokens}, decode at context "
            f"{' and '.join(map(str, contexts))}, verify {workload.verify_tokens} tokens at once, "
            f"{workload.rows} rows; "
            f"{median(measurements.bandwidth) / 1e9:.1f} GB/s measured"
        )
        out.print()
        out.print(speed_table(title, contexts, workload.rows, self._figures, failures))
        out.print(size_table(self._figures, failures))
        if self._best:
            out.print(best_peers_table(self._best))
        for reason in failures.values():
            out.print(f"not measured: {reason}", markup=False, highlight=False, soft_wrap=True)
        sizes = ", ".join(f"{size / 1e9:.3f} GB in {name}" for name, size in self._weight_bytes.items())
        out.print(f"weights a token reads: {sizes}", highlight=False)
        for name, samples in measurements.systems.items():
            versions = ", ".join(f"{library} {version}" for library, version in samples.versions.items())
            out.print(f"{name}: {versions}", highlight=False, soft_wrap=True)

    def content(self) -> dict[str, object]:
        """Everything, as JSON has it."""
        return {
            "weight_bytes_per_token": self._weight_bytes,
            "figures": {name: asdict(figure) for name, figure in self._figures.items()},
            "best_peers": {
                name: {cost: asdict(peer) for cost, peer in best.items()} for name, best in self._best.items()
            },
            "failures": self._measurements.failures,
            "measurements": asdict(self._measurements),
        }


def machine() -> str:
    """The processor, cores, memory and system of this machine, in a line."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    cores = len(os.sched_getaffinity(0))
    return f"{model}, {cores} cores, {memory:.0f} GB of memory, {platform.system()} {platform.release()}"
