"""Tracing with torch.export: dynamic batch and sequence, functional operators, and failures told in one line."""

import contextlib
import io
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, DynamicOutputShapeException, FakeTensorMode
from torch.export import ExportedProgram
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from graphwright.frontend.aten import IMPORTERS
from graphwright.frontend.aten.products import plain_contraction
from graphwright.frontend.conditions import Axes
from graphwright.frontend.dimensions import Dimensions
from graphwright.frontend.functional import break_up, replace_in_place_operators
from graphwright.frontend.outputs import Outputs, flatten_outputs
from graphwright.frontend.sources import FixedSizes, last_line, own_frame, watched_sizes
from graphwright.frontend.specialization import fixes, free_sizes, must_stay_free, named_size
from graphwright.frontend.torch_calls import Run, recorded
from graphwright.frontend.traced_graph import (
    Node,
    decomposed,
    definition,
    gives_tensors,
    is_mutating,
    is_operator,
    live_nodes,
    operator_name,
    output_names,
)
from graphwright.ir import UnsupportedError
from graphwright.ir.convention import BATCH, SEQUENCE

PREFIX = "model."
"""Where the traced module sits in its wrapper."""


class Traced(torch.nn.Module):
    """What is traced: the model behind one calling convention, tensors in and named tensors out.

    `batched` are the inputs whose first axis is the batch. What the model returns is shown to `see_outputs` too: torch
    sets back what a module assigns to itself while it is traced.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        call: Callable[..., Any],
        batched: Sequence[int],
        see_outputs: Callable[[Outputs], object],
    ) -> None:
        super().__init__()
        self.model = model
        self._call = call
        self._batched = list(batched)
        self._see_outputs = see_outputs

    def forward(self, *inputs: torch.Tensor) -> dict[str, torch.Tensor]:
        for other in self._batched[1:]:
            # one batch for all: else a size that mixes two of them could not be told to be whole
            cast("Any", torch)._check(inputs[other].shape[0] == inputs[self._batched[0]].shape[0])
        outputs = flatten_outputs(self._call(self.model, *inputs))
        self._see_outputs(outputs)
        return outputs.tensors


@dataclass(frozen=True)
class Trace:
    """A traced module, its sizes in the IR's symbols, and the longest sequence that it allows.

    `names` are those of the tensors that it returned, `outputs` tells of what it returned beside them, `run` what its
    code asked of torch; None for one that was traced elsewhere.
    """

    exported: ExportedProgram
    dimensions: Dimensions
    names: list[str]
    longest: int | None
    outputs: Outputs
    run: Run | None = None


class TraceFailure(UnsupportedError):
    """The module's code raised an error while it was traced: it may not take inputs of the sizes of the example."""


def trace(model: torch.nn.Module, call: Callable[..., Any], inputs: Mapping[str, tuple[torch.Tensor, Axes]]) -> Trace:
    """Traces `call(model, *inputs)` with the named axes dynamic. Raises `UnsupportedError` if that cannot be done."""
    runs: list[Run] = []
    outputs: list[Outputs] = []
    batched = [i for i, (_, axes) in enumerate(inputs.values()) if axes.get(0) == BATCH]
    traced = Traced(model, recorded(model, call, runs), batched, outputs.append)
    examples = tuple(example for example, _ in inputs.values())
    dynamic = tuple({i: _freedom(name, s) for i, s in axes.items()} for name, (_, axes) in inputs.items())
    sizes = FixedSizes()
    try:
        # When a trace fails, torch prints the part that it has got to standard error.
        with torch.no_grad(), contextlib.redirect_stderr(io.StringIO()), watched_sizes() as sizes:
            exported = torch.export.export(traced, examples, dynamic_shapes={"inputs": dynamic}, strict=False)
            exported = normalize(exported, fresh=True)
    except UnsupportedError:
        raise
    except Exception as problem:
        axes = {name: axes for name, (_, axes) in inputs.items()}
        raise _failure(traced.model, problem, axes, sizes) from None
    require_pure(exported)
    run, found = runs[-1], outputs[-1]
    axes = {name: axes for name, (_, axes) in inputs.items()}
    dimensions, longest = free_sizes(exported, axes, lambda length: _is_refused(traced, inputs, length), sizes)
    return Trace(exported, dimensions, output_names(exported), longest, found, run)


def _is_refused(traced: Traced, inputs: Mapping[str, tuple[torch.Tensor, Axes]], length: int) -> bool:
    """Whether the module's own code raises an error for sequences of this length."""
    shorter = [example for example, _ in inputs.values()]
    for i, (_, axes) in enumerate(inputs.values()):
        for axis in (axis for axis, symbol in axes.items() if symbol == SEQUENCE):
            shorter[i] = shorter[i].narrow(axis, 0, min(length, shorter[i].shape[axis]))
    mode: Any = FakeTensorMode(allow_non_fake_inputs=True)
    try:
        with torch.no_grad(), mode:
            traced(*(mode.from_tensor(example) for example in shorter))
    except Exception as problem:
        return bool(own_frame(problem))
    return False


def _freedom(name: str, symbol: str) -> Any:
    return torch.export.Dim.DYNAMIC if must_stay_free(name, symbol) else torch.export.Dim.AUTO


def normalize(exported: ExportedProgram, *, fresh: bool = False) -> ExportedProgram:
    """The program without in-place operators, and with those that lack an importer broken into ones that have one.

    A `fresh` one was traced here, and is not traced once more where it can be changed in place.
    """
    tried: set[object] = set()
    if fresh:
        replace_in_place_operators(exported)
    while True:
        strange = [n for n in live_nodes(exported) if is_operator(n) and not _importable(n) and n.target not in tried]
        strange = [n for n in strange if definition(n) is not None]
        writes = any(map(is_mutating, exported.graph.nodes))
        if not strange and (tried or not writes):
            return exported
        tried |= {"in-place operators", *(node.target for node in strange)}
        if writes or not fresh or not break_up(exported, strange):
            table = {node.target: d for node in strange if (d := definition(node)) is not None}
            exported = decomposed(exported, table)


def _importable(node: Node) -> bool:
    name = operator_name(node)
    if name == "aten.einsum.default":
        return plain_contraction(str(node.args[0])) is not None
    return name in IMPORTERS or not gives_tensors(node)


def require_pure(exported: ExportedProgram) -> None:
    """Raises `UnsupportedError` for a trace that changes its buffers or inputs."""
    signature = exported.graph_signature
    kinds = (signature.parameters_to_mutate, signature.buffers_to_mutate, signature.user_inputs_to_mutate)
    for name in (name for changed in kinds for name in changed.values()):
        plain_name = name.removeprefix(PREFIX)
        raise UnsupportedError(f"'{plain_name}' is changed by forward; a captured module keeps no state between calls")


DATA_DEPENDENT = (DataDependentOutputException, DynamicOutputShapeException, GuardOnDataDependentSymNode)
"""What torch raises for code that asks for the values of a tensor."""

_FIXED = re.compile(r"You marked (\S+) as dynamic but your code specialized it to be a constant \((\d+)\)")


def _failure(
    model: torch.nn.Module, problem: Exception, inputs: Mapping[str, Axes], sizes: FixedSizes
) -> UnsupportedError:
    """The failure in one line, with the path of the innermost module that was running and the line of its code."""
    name = type(model).__name__
    fixed = _FIXED.search(str(problem))
    if fixed is not None:
        return UnsupportedError(f"{name} cannot be traced: {fixes(named_size(fixed[1], inputs), fixed[2], sizes)}")
    paths: dict[int, str] = {id(module): path for path, module in cast("Any", model).named_modules()}
    frames = [frame for frame, _ in traceback.walk_tb(problem.__traceback__)]
    location = next((path for f in reversed(frames) if (path := paths.get(id(f.f_locals.get("self"))))), "")
    where = f" at {location}" if location else ""
    line = last_line(problem)
    place = f" ({line})" if line else ""
    if isinstance(problem, DATA_DEPENDENT):
        advice = "its code branches on the values of a tensor; write the choice with torch.where"
        return UnsupportedError(f"{name} cannot be traced{where}: {advice}{place}")
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    reason = f"{type(problem).__name__}: {lines[0]}" if lines else type(problem).__name__
    return TraceFailure(f"{name} cannot be traced{where}: {reason[:400]}{place}")
