"""Capture of an archive that torch.export saved (`.pt2`): traced already, so only imported."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.export import ExportedProgram

from graphwright.frontend.archive.execution import bounded_execution
from graphwright.frontend.archive.loading import first_line, load
from graphwright.frontend.archive.single_sizes import longest_without
from graphwright.frontend.build import import_trace, stored_array
from graphwright.frontend.conditions import Axes
from graphwright.frontend.errors import CheckpointError
from graphwright.frontend.export import Trace, normalize, require_pure
from graphwright.frontend.expression_text import ExpressionError
from graphwright.frontend.inputs import LENGTHS
from graphwright.frontend.logits import NoLogits
from graphwright.frontend.outputs import Outputs, flatten_outputs
from graphwright.frontend.specialization import free_sizes
from graphwright.frontend.traced_graph import expression, guards, result_structure, traced_value
from graphwright.ir import Program, UnsupportedError, UserError, notify
from graphwright.ir.convention import ARCHITECTURE, BATCH, INPUT_IDS, PARAMETERS, SEQUENCE


def capture_archive(path: Path, logits: str | None = None, *, function: bool = False) -> Program:
    """The program of a saved `torch.export` archive.

    The free size of a first axis is `B`, other ones are `S`, `T`, … in the order of the inputs; sizes that the archive
    fixes stay fixed. A notice says that sizes of one are taken to be like others. A language model of the token ids of
    one sequence is given a batch, as by `capture`. Nothing of the archive is run, pickled or written as text. Raises
    `CheckpointError` for a file that is none or that this torch cannot read, `UnsupportedError` as `capture` does.
    """
    exported = load(path)
    try:
        with torch.no_grad(), bounded_execution():
            exported = normalize(exported)
    except ExpressionError as problem:
        raise CheckpointError(f"{path}: cannot read this archive: {str(problem).splitlines()[0]}") from None
    except Exception as problem:
        raise UnsupportedError(f"{path}: its operators cannot be made functional: {first_line(problem)}") from None
    require_pure(exported)
    names = [str(name) for name in exported.graph_signature.user_inputs]
    names_of_results, outputs = _outputs(exported)
    tensors = {**exported.state_dict, **{n: t for n, t in exported.constants.items() if isinstance(t, torch.Tensor)}}
    weights = {name: stored_array(tensor) for name, tensor in tensors.items()}
    facts = {ARCHITECTURE: "torch.export", PARAMETERS: sum(p.numel() for p in exported.parameters())}
    dtypes = {name: tensor.dtype for name, tensor in tensors.items()}

    def imported(axes: dict[str, Axes], inputs: Sequence[str]) -> Program:
        dimensions, longest = free_sizes(exported, axes)
        longest = longest_without(guards(exported), axes, longest)
        traced = Trace(exported, dimensions, names_of_results, longest, outputs)
        program = import_trace(path.stem, traced, inputs, weights, dtypes, facts, logits=logits, function=function)
        if dimensions.names:
            notify(f"{path}: {_SIZES_OF_ONE}")
        return program

    axes = _axes(exported, names)
    if not function and _is_one_sequence(exported, names):
        with contextlib.suppress(NoLogits):
            return imported({names[0]: {0: SEQUENCE}}, [INPUT_IDS])
    return imported(axes, _input_names(exported, names, axes))


_SIZES_OF_ONE = (
    "torch traces sizes of two and more as alike; of an archive it cannot be checked that a batch or a length of one "
    "computes the same, as it is for a module"
)


def _axes(exported: ExportedProgram, names: Sequence[str]) -> dict[str, Axes]:
    """The free axes of the inputs, with a symbol for each size."""
    fakes = {node.name: traced_value(node) for node in exported.graph.nodes if node.op == "placeholder"}
    free: dict[str, dict[int, Any]] = {}
    for name in names:
        if not isinstance(fakes[name], torch.Tensor):
            raise UnsupportedError(f"input '{name}' is not a tensor; a captured module takes tensors")
        sizes = {i: size for i, size in enumerate(fakes[name].shape) if isinstance(size, torch.SymInt)}
        free[name] = {i: expression(size) for i, size in sizes.items() if expression(size).is_Symbol}
    batch = next((axes[0] for axes in free.values() if 0 in axes), None)
    known: dict[Any, str] = {} if batch is None else {batch: BATCH}
    lengths = iter(LENGTHS)
    for size in (size for axes in free.values() for size in axes.values()):
        if size not in known:
            symbol = next(lengths, None)
            if symbol is None:
                raise UnsupportedError(f"the archive has more than {len(LENGTHS) + 1} free sizes")
            known[size] = symbol
    return {name: {i: known[size] for i, size in axes.items()} for name, axes in free.items()}


def _input_names(exported: ExportedProgram, names: Sequence[str], axes: dict[str, Axes]) -> list[str]:
    """The inputs' own names; token ids alone are called as a language model's."""
    fakes = {node.name: traced_value(node) for node in exported.graph.nodes if node.op == "placeholder"}
    alone = len(names) == 1 and fakes[names[0]].dtype is torch.int64 and fakes[names[0]].dim() == 2
    return [INPUT_IDS] if alone and set(axes[names[0]].values()) == {BATCH, SEQUENCE} else list(names)


def _is_one_sequence(exported: ExportedProgram, names: Sequence[str]) -> bool:
    """Whether the only input looks like token ids of one sequence, of any length."""
    fakes = [traced_value(node) for node in exported.graph.nodes if node.op == "placeholder" and node.name in names]
    alone = len(fakes) == 1 and fakes[0].dtype is torch.int64 and fakes[0].dim() == 1
    return alone and isinstance(fakes[0].shape[0], torch.SymInt)


def _outputs(exported: ExportedProgram) -> tuple[list[str], Outputs]:
    """The names of the results, in order, and what was returned beside them."""
    marks = [torch.empty(0) for _ in exported.graph_signature.user_outputs]
    outputs = flatten_outputs(result_structure(exported, marks))
    named = {id(mark): name for name, mark in outputs.tensors.items()}
    return [named.get(id(mark), f"unnamed.{i}") for i, mark in enumerate(marks)], outputs


def refuse_arguments(examples: object, dtype: object) -> None:
    """An archive was traced with its inputs and in its element type."""
    if examples is not None:
        raise UserError("an archive of torch.export is traced already, so it takes no example inputs")
    if dtype is not None:
        raise UserError("an archive of torch.export is traced already, so dtype comes too late")
