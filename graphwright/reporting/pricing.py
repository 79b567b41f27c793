"""What a program costs at given sizes: prefill and decode apart, or one run of a plain function."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from graphwright.compiling.targets import is_language_model
from graphwright.ir import Graph, Program
from graphwright.ir.convention import (
    BATCH,
    CAPACITY,
    DECODE,
    DECODER_INPUT_IDS,
    ENCODE,
    FORWARD,
    INPUT_IDS,
    POSITIONS,
    PREFILL,
    SEQUENCE,
    is_decoder,
    step_graph,
)
from graphwright.ir.machines import Machine
from graphwright.ir.pricing import Buffers, GraphCost, Memory, Work, graph_cost, memory, total_time
from graphwright.ir.storage import total_bytes, weights_of
from graphwright.reporting.pipeline_report import Kind, MachineRow, MemoryPoint, Phase, Price, Workload


@dataclass(frozen=True)
class Run:
    """One run of a graph at sizes, as part of a phase."""

    graph: Graph
    bindings: dict[str, int]


def price_program(program: Program, workload: Workload, machine: Machine | None) -> dict[Phase, Price]:
    """Each phase's price; seconds and what binds them where there is a machine.

    A prompt's prefill includes the encoder. Before a program has a cache, each decoded token costs the whole context
    again. Peak memory has all weights of the program in it.
    """
    weights = weight_bytes(program)
    found = phases(program, workload)
    # Without a cache both phases run the same graph.
    counted: dict[Graph, tuple[Buffers, GraphCost]] = {}
    for graph in {run.graph: None for runs in found.values() for run in runs}:
        buffers = Buffers(graph)
        counted[graph] = buffers, graph_cost(graph, buffers)
    return {phase: _price(runs, counted, weights, machine) for phase, runs in found.items()}


def kinds(program: Program, workload: Workload, machine: Machine | None) -> list[Kind]:
    """The ops of each phase by name, those that cost most first; views, which cost nothing, are left out."""
    rows: list[Kind] = []
    for phase, runs in phases(program, workload).items():
        by_name: dict[str, list[Work]] = {}
        for work in (w for run in runs for w in graph_cost(run.graph).at(run.bindings)):
            by_name.setdefault(work.op, []).append(work)
        found = [_kind(phase, name, works, machine) for name, works in by_name.items()]
        rows += sorted(found, key=lambda k: (k.seconds or 0.0, k.bytes), reverse=True)
    return rows


def memory_points(program: Program, workload: Workload, contexts: Iterable[int]) -> list[MemoryPoint]:
    """Memory of a decode step (of the one phase of a plain function) by part, at each length of the context."""
    weights = weight_bytes(program)
    points: list[MemoryPoint] = []
    for context in contexts:
        longer = workload.model_copy(update={"decode_context": context, "prefill_length": context})
        runs = phases(program, longer)
        used = [memory(Buffers(run.graph), run.bindings) for run in runs.get(DECODE) or runs[FORWARD]]
        most = max(used, key=lambda m: m.cache + m.activations, default=Memory(0, 0))
        points.append(MemoryPoint(context=context, weights=weights, cache=most.cache, activations=most.activations))
    return points


def weight_bytes(program: Program) -> int:
    """Bytes of the weights that the program's graphs read, each once, as they are stored."""
    return total_bytes(weights_of(program.graphs.values()))


def machine_row(machine: Machine) -> MachineRow:
    """The machine as a report has it."""
    return MachineRow(
        name=machine.name,
        flops_per_second={str(dtype): rate for dtype, rate in machine.flops_per_second.items()},
        bytes_per_second=machine.bytes_per_second,
        launch_seconds=machine.launch_seconds,
        source=machine.source,
    )


def phases(program: Program, workload: Workload) -> dict[Phase, list[Run]]:
    """The graphs that each phase runs, and at which sizes.

    A step runs the graph that is made for its sizes: what is made for others, such as `verify`, has no price.
    B is the batch, S the tokens, C the capacity of the caches, N the tokens whose logits are wanted. T, and any other
    symbol, is the length of a context beside the tokens: as long as the prompt.
    """
    graphs = program.graphs
    length, context = workload.prefill_length, workload.decode_context

    def run(graph: Graph, tokens: int, capacity: int) -> Run:
        bindings = dict.fromkeys(graph.symbols, length) | {BATCH: workload.batch, POSITIONS: 1, CAPACITY: capacity}
        return Run(graph, bindings | {_token_symbol(graph): tokens})

    if is_decoder(program):
        single = step_graph(program, {BATCH: workload.batch, SEQUENCE: 1, POSITIONS: 1})
        prefill, decode = run(graphs[PREFILL], length, length), run(single, 1, context)
    elif FORWARD in graphs and (ENCODE in graphs or is_language_model(program)):
        prefill, decode = run(graphs[FORWARD], length, length), run(graphs[FORWARD], context, context)
    else:
        return {FORWARD: [run(graph, length, length) for graph in graphs.values()]}
    encode = [run(graphs[ENCODE], length, length)] if ENCODE in graphs else []
    return {PREFILL: [*encode, prefill], DECODE: [decode]}


def _token_symbol(graph: Graph) -> str:
    """What the graph calls the number of its tokens: S, unless a context beside them has that name."""
    for name in (DECODER_INPUT_IDS, INPUT_IDS):
        for value in graph.inputs:
            if value.name == name and value.type.rank == 2:
                dim = value.type.shape[1]
                return str(dim) if dim.terms == (((str(dim),), 1),) else SEQUENCE
    return SEQUENCE


def _price(
    runs: list[Run], counted: Mapping[Graph, tuple[Buffers, GraphCost]], weights: int, machine: Machine | None
) -> Price:
    works: list[Work] = []
    peak = 0
    for run in runs:
        buffers, cost = counted[run.graph]
        works += cost.at(run.bindings)
        needed = memory(buffers, run.bindings)
        peak = max(peak, needed.cache + needed.activations)
    seconds, limit = total_time(works, machine) if machine is not None else (None, None)
    return Price(
        flops=sum(w.flops for w in works),
        weight_bytes=_bytes(sum(w.weight_bits for w in works)),
        activation_bytes=_bytes(sum(w.activation_bits for w in works)),
        cache_bytes=_bytes(sum(w.cache_bits for w in works)),
        launches=sum(w.launches for w in works),
        peak_bytes=weights + peak,
        seconds=seconds,
        limit=limit,
    )


def _kind(phase: Phase, name: str, works: list[Work], machine: Machine | None) -> Kind:
    seconds, limit = total_time(works, machine) if machine is not None else (None, None)
    return Kind(
        phase=phase,
        op=name,
        count=sum(w.count for w in works),
        flops=sum(w.flops for w in works),
        bytes=_bytes(sum(w.bits for w in works)),
        launches=sum(w.launches for w in works),
        seconds=seconds,
        limit=limit,
    )


def _bytes(bits: int) -> int:
    return -(-bits // 8)


__all__ = ["kinds", "machine_row", "memory_points", "phases", "price_program", "weight_bytes"]
