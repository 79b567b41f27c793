"""Where calibration stops: the graph that it runs, and the products in it that read one value."""

from collections.abc import Callable
from dataclasses import dataclass

from graphwright.ir import Graph, Op, PassError, Program, Value, ops
from graphwright.ir.convention import DECODER_INPUTS, ENCODE, INPUT_IDS, is_past, main_graph


@dataclass(frozen=True)
class Site:
    """The products of one graph that read the same value."""

    graph: Graph
    x: Value
    ops: tuple[Op, ...]

    @property
    def size(self) -> int:
        """How many numbers a vector has that the products read."""
        return self.x.type.shape[-1].evaluate({})


def calibration_graph(program: Program) -> Graph:
    """The graph that takes token ids, `prefill` or `forward`. Raises `PassError` where neither runs on them alone."""
    graph = main_graph(program)
    if graph is None or ENCODE in program.graphs:
        raise PassError(f"program '{program.name}' cannot be calibrated: it takes more than token ids")
    strangers = [str(v.name) for v in graph.inputs if v.name not in DECODER_INPUTS and not is_past(v.name)]
    if strangers or all(v.name != INPUT_IDS for v in graph.inputs):
        raise PassError(
            f"program '{program.name}' cannot be calibrated: it takes {', '.join(strangers) or 'no tokens'}"
        )
    return graph


def calibration_sites(graph: Graph, wanted: Callable[[Op], bool]) -> list[Site]:
    """The linear layers for which `wanted` holds, those of one input together, in the order of their inputs."""
    groups: dict[Value, list[Op]] = {}
    for op in graph:
        if op.definition is ops.linear and wanted(op):
            groups.setdefault(op.required("x"), []).append(op)
    place = {v: i for i, op in enumerate(graph) for v in op.results}
    return [Site(graph, x, tuple(groups[x])) for x in sorted(groups, key=lambda x: place.get(x, -1))]
