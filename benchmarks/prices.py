"""Predicted against counted: what prices say, and what an interpreter, a file and bound buffers have.

`python -m benchmarks.prices` compiles the bundled model, and stories260k where it is at hand, and compares four numbers
of prefill and decode at several sizes: bytes read and written of weights, of activations and of caches, by the program
after the passes and by the one that was lowered; the bytes of all weights, as stored; the bytes of the caches. It fails
where two numbers differ.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

import graphwright
from benchmarks.counting import CountingInterpreter
from benchmarks.peers.environments import REPOSITORY
from graphwright.ir import Program, StateType, StoredFile, Value
from graphwright.ir.lazy import torch
from graphwright.ir.storage import total_bytes, weights_of
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.weights import sources
from graphwright.reporting.pipeline_report import Price, Workload
from graphwright.reporting.pricing import Run, memory_points, phases, price_program

if TYPE_CHECKING:
    from torch import Tensor

    from graphwright.compiling.compiled import CompiledModel

MODELS = (REPOSITORY / "examples/models/storyteller", REPOSITORY.parent / "shared/models/stories260k")
WORKLOADS = (
    Workload(batch=1, prefill_length=16, decode_context=17),
    Workload(batch=1, prefill_length=100, decode_context=128),
    Workload(batch=3, prefill_length=33, decode_context=50),
)


@dataclass(frozen=True)
class Comparison:
    """One number, predicted and counted, in bytes."""

    program: str
    workload: str
    what: str
    predicted: int
    counted: int


def counted_bytes(program: Program, workload: Workload) -> dict[str, dict[str, int]]:
    """Of each phase the bytes that the interpreter reads and writes of `weight`, `activation` and `cache`."""
    result: dict[str, dict[str, int]] = {}
    for phase, runs in phases(program, workload).items():
        interpreter = CountingInterpreter()
        for run in runs:
            interpreter.run(run.graph, made_inputs(run))
        result[phase] = interpreter.bytes
    return result


def predicted_bytes(price: Price) -> dict[str, int]:
    """The same of a price."""
    return {"weight": price.weight_bytes, "activation": price.activation_bytes, "cache": price.cache_bytes}


def made_inputs(run: Run) -> dict[str, Tensor]:
    """Inputs of the run's sizes: caches that hold all tokens but the new ones, and no padding."""
    sizes = run.bindings
    tokens = next((v.type.shape[1].evaluate(sizes) for v in run.graph.inputs if v.name == "input_ids"), 0)
    known = {
        "past_length": sizes["C"] - tokens,
        "new_length": tokens,
        "logit_positions": tokens - 1,
        "context_length": sizes.get("T", 0),
    }
    generator = torch.Generator().manual_seed(0)
    return {str(v.name): _made(v, sizes, known, generator) for v in run.graph.inputs}


def _made(value: Value, sizes: dict[str, int], known: dict[str, int], generator: torch.Generator) -> Tensor:
    shape = [dim.evaluate(sizes) for dim in value.type.shape]
    dtype = torch_dtype(value.tensor.dtype)
    if value.name in known:
        return torch.full(shape, known[value.name], dtype=dtype)
    if isinstance(value.type, StateType):
        return torch.zeros(shape, dtype=dtype)
    if dtype.is_floating_point:
        return torch.randn(shape, generator=generator).to(dtype)
    return torch.randint(0, 2, shape, generator=generator).to(dtype)


def stored_weights(model: CompiledModel) -> Iterator[Comparison]:
    """The weights in the artifact's data file, holes between them left out, and the small ones in the model file."""
    import onnx

    weights = weights_of(model.graph.graphs.values())
    large = [w for w in weights if all(isinstance(s, StoredFile) for s in sources(w.expression))]
    small = {(tuple(w.evaluate().shape), w.evaluate().numpy().tobytes()): w for w in weights if w not in large}
    extents: set[tuple[int, int]] = set()
    inline = 0
    for path in sorted(model.folder.glob("*.onnx")):
        model_file = onnx.load_model_from_string(path.read_bytes())
        for tensor in model_file.graph.initializer:
            if tensor.external_data:
                place = {entry.key: entry.value for entry in tensor.external_data}
                extents.add((int(place["offset"]), int(place["offset"]) + int(place["length"])))
            elif (tuple(tensor.dims), tensor.raw_data) in small:
                inline += len(tensor.raw_data)
    yield Comparison("lowered", "", "weights in the data file", total_bytes(large), _covered(extents))
    yield Comparison("lowered", "", "weights in the model file", total_bytes(list(small.values())), inline)


def _covered(places: set[tuple[int, int]]) -> int:
    """The length of the union of extents."""
    total = end = 0
    for start, stop in sorted(places):
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total


def bound_bytes(model: CompiledModel, batch: int, context: int) -> int:
    """The bytes of the buffers that the runtime binds for caches, rings and states."""
    from graphwright.runtime import KVCache

    cache = KVCache(model.loaded.session, batch, context)
    return sum(b.value.numpy().nbytes for b in (*cache.buffers, *cache.states[0], *cache.states[1]))


def compare(folder: Path) -> Iterator[Comparison]:
    """All comparisons of one checkpoint."""
    program, _ = graphwright.optimize(graphwright.trace(folder), "default")
    with tempfile.TemporaryDirectory() as temporary:
        model = graphwright.compile(folder, output=Path(temporary) / "artifact", threads=1)
        for name, each in (("default", program), ("lowered", model.graph)):
            for workload in WORKLOADS:
                counted = counted_bytes(each, workload)
                sizes = f"{workload.batch} x {workload.prefill_length} | {workload.decode_context}"
                for phase, price in price_program(each, workload, None).items():
                    predicted = predicted_bytes(price)
                    for part in predicted:
                        yield Comparison(name, sizes, f"{phase} {part} traffic", predicted[part], counted[phase][part])
        yield from stored_weights(model)
        for workload in WORKLOADS:
            (point,) = memory_points(model.graph, workload, [workload.decode_context])
            bound = bound_bytes(model, workload.batch, workload.decode_context)
            yield Comparison("lowered", f"{workload.batch} | {workload.decode_context}", "cache", point.cache, bound)


def main() -> int:
    wrong = 0
    for folder in MODELS:
        if not folder.is_dir():
            print(f"{folder.name} is not at hand", file=sys.stderr)
            continue
        table = Table(title=folder.name)
        for column in ("program", "batch x prefill | context", "bytes of"):
            table.add_column(column)
        table.add_column("predicted", justify="right")
        table.add_column("counted", justify="right")
        for row in compare(folder):
            same = row.predicted == row.counted
            wrong += not same
            numbers = f"{row.predicted:,}", f"{row.counted:,}"
            table.add_row(row.program, row.workload, row.what, *numbers, style="" if same else "red")
        Console().print(table)
    print("every prediction is exact" if not wrong else f"{wrong} predictions are off")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
