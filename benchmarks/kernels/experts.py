"""Experts on this CPU, floats and codes of 4 bits: `python -m benchmarks.kernels.experts`.

One token is held against the bandwidth of a kernel that only reads, by how many experts are chosen of how many:
its time goes by the bytes of those that are. Many tokens are held against the cores' peak in float32.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.kernels.bandwidth import read_runs
from benchmarks.kernels.peak import peak_flops, peak_runs
from benchmarks.kernels.timing import COLD, Run, built, least_seconds, use_threads, written
from graphwright.backends.tvm.cpu import Cpu, host_cpu
from graphwright.backends.tvm.kernels.expert_form import ExpertForm
from graphwright.backends.tvm.kernels.experts import experts
from graphwright.backends.tvm.library.layouts import PANEL
from graphwright.backends.tvm.tvm_library import tvm
from graphwright.ir.dialects.cpu.packed_weights import PackedWeight
from graphwright.runtime.cores import available_cores

SIZE, INNER = 768, 384
GROUP = 128
EXPERTS = (16, 64)
CHOSEN = (1, 2, 4, 8)
MANY = (8, 64, 512)
ROUNDS = 40


@dataclass(frozen=True)
class Stored:
    """How the experts of a form are stored, and arrays that stand for some."""

    form: ExpertForm
    codes: bool

    @property
    def weights(self) -> tuple[PackedWeight, PackedWeight] | str:
        first, second = (
            PackedWeight(self.form.experts * rows, columns, 4, GROUP, "float16", zero_points=False)
            for rows, columns in self.shapes
        )
        return (first, second) if self.codes else "float32"

    @property
    def shapes(self) -> tuple[tuple[int, int], tuple[int, int]]:
        return (self.form.height, self.form.size), (self.form.outer, self.form.inner)

    @property
    def expert_bytes(self) -> float:
        bits = 4 + 16 / GROUP if self.codes else 32
        return sum(rows * columns for rows, columns in self.shapes) * bits / 8

    def arrays(self) -> list[Any]:
        weights = self.weights
        if isinstance(weights, str):
            blocks = ((self.form.experts * rows // PANEL, columns, PANEL) for rows, columns in self.shapes)
            return [_tensor(np.full(shape, 0.01, np.float32)) for shape in blocks]
        return [
            _tensor(each)
            for weight in weights
            for each in (
                np.full(weight.codes_shape, 0x5A, np.uint8),
                np.full((weight.blocks, weight.groups, 16), 0.01, np.float16).view(np.uint8),
            )
        ]

    def kernel(self, cpu: Cpu, tokens: int | None) -> Any:
        name = "experts_by_codes" if self.codes else "experts"
        return built(written(name, experts, cpu, tokens=tokens, form=self.form, weights=self.weights), cpu)

    def runs(self, kernel: Any, tokens: int, arrays: list[Any], turns: int) -> list[Run]:
        """Runs that choose other experts each, so that few were chosen by the last ones."""
        random = np.random.default_rng(0)
        x = _tensor(random.standard_normal((tokens, self.form.size), dtype=np.float32))
        shares = _tensor(np.full((tokens, self.form.chosen), 0.25, np.float32))
        y = _tensor(np.zeros((tokens, self.form.outer), np.float32))
        chosen = [random.permuted(np.tile(np.arange(self.form.experts), (tokens, 1)), axis=1) for _ in range(turns)]
        indices = [_tensor(np.ascontiguousarray(each[:, : self.form.chosen])) for each in chosen]
        return [lambda i=i: kernel(x, i, shares, *arrays, y) for i in indices]


def main() -> None:
    threads = available_cores()
    use_threads(threads)
    cpu = host_cpu()
    print(f"{cpu.name}, {threads} threads, experts {SIZE} -> {INNER} -> {SIZE}, codes in groups of {GROUP}")
    form = ExpertForm(1, SIZE, INNER, SIZE, 1, True, "silu", 1.0, math.inf, 0.0, (False, False))
    for codes in (False, True):
        for line in (*one_token(cpu, Stored(form, codes)), *many(cpu, threads, Stored(form, codes))):
            print(line, flush=True)


def one_token(cpu: Cpu, stored: Stored) -> Iterator[str]:
    """One token by the number of experts, and of those that are chosen."""
    runs: dict[str, list[Run]] = {"read": read_runs(cpu)}
    found: dict[str, Stored] = {}
    for count in EXPERTS:
        for chosen in CHOSEN:
            each = replace(stored, form=replace(stored.form, experts=count, chosen=chosen))
            name = f"{_label(each)}, 1 token, {chosen} of {count:2} experts"
            found[name] = each
            runs[name] = each.runs(each.kernel(cpu, 1), 1, each.arrays(), 16)
    least = least_seconds(runs, ROUNDS)
    bandwidth = COLD / least.pop("read")
    for name, seconds in least.items():
        speed = found[name].form.chosen * found[name].expert_bytes / seconds
        share = f"{speed / 1e9:5.1f} GB/s, {speed / bandwidth:4.0%} of {bandwidth / 1e9:.1f}"
        yield f"{name}: {seconds * 1e6:8.1f} µs {share}"


def many(cpu: Cpu, threads: int, stored: Stored) -> Iterator[str]:
    """Many tokens through 4 of 32 experts each."""
    each = replace(stored, form=replace(stored.form, experts=32, chosen=4))
    kernel, arrays = each.kernel(cpu, None), each.arrays()
    peak_run = peak_runs(cpu, threads)
    for count in MANY:
        # By itself: TVM keeps the memory of a call for the next one of as many tokens.
        least = least_seconds({"peak": peak_run, "experts": each.runs(kernel, count, arrays, 4)}, ROUNDS)
        peak, seconds = peak_flops(cpu, threads) / least["peak"], least["experts"]
        speed = 2 * count * each.form.chosen * sum(rows * columns for rows, columns in each.shapes) / seconds
        yield (
            f"{_label(each)}, {count:>3} tokens, 4 of 32 experts: {seconds * 1e6:8.1f} µs {speed / 1e9:6.1f} GFLOP/s, "
            f"{speed / peak:4.0%} of {peak / 1e9:.0f}"
        )


def _label(stored: Stored) -> str:
    return "w4" if stored.codes else "f32"


def _tensor(array: Any) -> Any:
    return tvm.runtime.tensor(array)


if __name__ == "__main__":
    main()
