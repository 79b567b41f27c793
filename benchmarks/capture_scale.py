"""Capture and the default pipeline at real size: a Llama-3-8B in bfloat16, and DeepSeek-V3's attention.

python -m benchmarks.capture_scale

Each model is a checkpoint of the real shapes whose file takes no room, and has a process of its own, so that peak
memory (the kernel's high-water mark, libraries included) is its own. Weights should never be read.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.checkpoint import configuration, write_sparse_checkpoint
from benchmarks.process_tree import status_bytes
from benchmarks.shapes import SHAPES, TensorShape

if TYPE_CHECKING:
    from graphwright.ir import Program

LLAMA = "Llama-3-8B"
DEEPSEEK_LAYERS = 2


@dataclass(frozen=True)
class Scale:
    """Figures of one model. `cached` are the numbers kept for each token and layer, or why there is no cache."""

    name: str
    weight_bytes: int
    capture_seconds: float
    pass_seconds: float
    peak_bytes: int
    operations: int
    cached: str


def llama(folder: Path) -> tuple[int, int]:
    """Writes the checkpoint; returns its bytes and its layers."""
    shape = SHAPES[LLAMA]
    return write_sparse_checkpoint(configuration(shape), shape.tensors(), folder), shape.layers


def deepseek(folder: Path) -> tuple[int, int]:
    """DeepSeek-V3 at its real sizes with few layers, both with a dense MLP: what is measured is their attention."""
    import torch
    import transformers

    config: Any = transformers.DeepseekV3Config(
        num_hidden_layers=DEEPSEEK_LAYERS,
        first_k_dense_replace=DEEPSEEK_LAYERS,
        architectures=["DeepseekV3ForCausalLM"],
    )
    with torch.device("meta"):
        model = transformers.DeepseekV3ForCausalLM(config)
    tensors = [TensorShape(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()]
    return write_sparse_checkpoint(config.to_dict(), tensors, folder), DEEPSEEK_LAYERS


MODELS: dict[str, Callable[[Path], tuple[int, int]]] = {
    LLAMA: llama,
    f"DeepSeek-V3, {DEEPSEEK_LAYERS} layers": deepseek,
}


def measure(name: str) -> Scale:
    """Captures one model and runs the pipeline; to be called in a fresh process."""
    from graphwright.frontend import capture
    from graphwright.ir import PassError
    from graphwright.passes import PIPELINES, run_passes

    with TemporaryDirectory() as folder:
        weight_bytes, layers = MODELS[name](Path(folder) / "checkpoint")
        start = time.perf_counter()
        program = capture(Path(folder) / "checkpoint")
        captured = time.perf_counter()
        try:
            run_passes(program, PIPELINES["default"])
            cached = f"{cache_values(program) / layers:,.0f}"
        except PassError as refusal:
            cached = f"refused: {refusal}"
        done = time.perf_counter()
    return Scale(
        name=name,
        weight_bytes=weight_bytes,
        capture_seconds=captured - start,
        pass_seconds=done - captured,
        peak_bytes=status_bytes(os.getpid(), "VmHWM"),
        operations=sum(len(graph) for graph in program.graphs.values()),
        cached=cached,
    )


def cache_values(program: Program) -> int:
    """Numbers that a row keeps for each token."""
    from graphwright.ir import StateType

    states = [v.type.tensor for v in program.graphs["prefill"].inputs if isinstance(v.type, StateType)]
    one, two = (sum(t.elements.evaluate({"B": 1, "C": c}) for t in states) for c in (1, 2))
    return two - one


def main() -> None:
    """Seconds, peak memory, and cache values per token and layer."""
    table = Table(title="Capture and the default pipeline, bfloat16")
    table.add_column("model")
    for column in ("weights GB", "capture s", "passes s", "peak GB", "ops"):
        table.add_column(column, justify="right")
    table.add_column("cache values / token, layer")
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for scale in pool.map(measure, MODELS):
            table.add_row(
                scale.name,
                f"{scale.weight_bytes / 1e9:.2f}",
                f"{scale.capture_seconds:.1f}",
                f"{scale.pass_seconds:.1f}",
                f"{scale.peak_bytes / 1e9:.2f}",
                f"{scale.operations:,}",
                scale.cached,
            )
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
