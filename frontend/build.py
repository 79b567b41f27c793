"""Traces a skeleton and binds its weights: the last step of every capture."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from graphwright.frontend.answer import as_logits
from graphwright.frontend.batching import add_batch
from graphwright.frontend.conditions import Axes
from graphwright.frontend.dimensions import element_type
from graphwright.frontend.export import PREFIX, Trace, TraceFailure, trace
from graphwright.frontend.hugging_face_recurrence import recurrences_as_operators
from graphwright.frontend.importer import Importer
from graphwright.frontend.logits import Choice, choose_logits, is_one_sequence
from graphwright.frontend.outputs import OUTPUT, not_a_tensor
from graphwright.frontend.same_numbers import compute_the_same
from graphwright.frontend.single_sizes import at_sizes, require_same_at_single_sizes
from graphwright.frontend.skeleton import canonical_names
from graphwright.frontend.traced_graph import result_nodes
from graphwright.ir import Graph, Program, StoredArray, UnsupportedError, UserError, Weight, ops, verify
from graphwright.ir.attributes import Attribute
from graphwright.ir.convention import CONTEXT_WINDOW, INPUT_IDS, LANGUAGE_MODEL_PROBLEM, LOGITS, context_window
from graphwright.ir.types import TensorType
from graphwright.ir.weights import Applied, WeightExpression


def build_program(
    name: str,
    model: torch.nn.Module,
    call: Callable[..., Any],
    inputs: Mapping[str, tuple[torch.Tensor, Axes]],
    weights: Mapping[str, WeightExpression],
    metadata: Mapping[str, Attribute],
    logits: str | None = None,
    others: Sequence[Mapping[str, tuple[torch.Tensor, Axes]]] = (),
    *,
    function: bool = False,
    guarded: bool = False,
) -> Program:
    """The program of `call(model, *inputs)`; `weights` holds the model's parameters and buffers by canonical name.

    `logits` names the output that holds a language model's logits, where that is not plain. Where the module's
    code takes no such inputs, the `others` are tried. `function` says that all that the module returns is
    wanted, as it is; `guarded` that the caller keeps the program from sizes that its trace leaves out, which else are
    tried here.
    """
    dtypes = {n: t.dtype for n, t in [*model.named_parameters(), *model.named_buffers()]}
    canonical = canonical_names(model)

    def imported(traced: Trace) -> Program:
        return import_trace(
            name,
            traced,
            list(inputs),
            weights,
            dtypes,
            metadata,
            canonical=canonical,
            prefix=PREFIX,
            logits=logits,
            function=function,
        )

    def everything(traced: Trace) -> Program:
        """The program of all tensors that the module returned: logits are not told apart where sizes are numbers."""
        whole = Program(name)
        bound = _Weights(whole, traced, canonical, weights, dtypes, PREFIX)
        results = dict(zip(traced.names, result_nodes(traced.exported), strict=True))
        Importer(whole, traced.exported, traced.dimensions, bound, PREFIX).run(list(inputs), results)
        return whole

    def same(sizes: Mapping[str, int]) -> bool:
        single = trace(model, call, at_sizes(given, sizes))
        return compute_the_same(everything(traced), everything(single), sizes)

    with recurrences_as_operators(model):
        traced, given = _traced(model, call, inputs, others)
        program = imported(traced)
        if not guarded:
            require_same_at_single_sizes(model, call, given, traced, context_window(program), same)
    return program


def _traced(
    model: torch.nn.Module,
    call: Callable[..., Any],
    inputs: Mapping[str, tuple[torch.Tensor, Axes]],
    others: Sequence[Mapping[str, tuple[torch.Tensor, Axes]]],
) -> tuple[Trace, Mapping[str, tuple[torch.Tensor, Axes]]]:
    """The trace, and the inputs that it was made with."""
    try:
        return trace(model, call, inputs), inputs
    except TraceFailure as failure:
        for given in others:
            with contextlib.suppress(TraceFailure):
                return trace(model, call, given), given
        raise failure from None


def import_trace(
    name: str,
    traced: Trace,
    inputs: Sequence[str],
    weights: Mapping[str, WeightExpression],
    dtypes: Mapping[str, torch.dtype],
    metadata: Mapping[str, Attribute],
    *,
    canonical: Mapping[str, str] | None = None,
    prefix: str = "",
    logits: str | None = None,
    function: bool = False,
) -> Program:
    """The program of a trace. `canonical` gives the first of a tied weight's names; `prefix` leads all names."""
    program = Program(name)
    bound = _Weights(program, traced, canonical or {}, weights, dtypes, prefix)
    problem = _import_outputs(program, traced, bound, prefix, inputs, logits, function)
    program.metadata = dict(metadata)
    if problem is not None:
        program.metadata[LANGUAGE_MODEL_PROBLEM] = problem
    if traced.longest is not None:
        known = context_window(program)
        program.metadata[CONTEXT_WINDOW] = traced.longest if known is None else min(known, traced.longest)
    verify(program)
    return program


def _import_outputs(
    program: Program,
    traced: Trace,
    weight: Callable[[str], Weight],
    prefix: str,
    inputs: Sequence[str],
    asked: str | None,
    function: bool,
) -> str | None:
    """Imports the logits of a language model, or else, and of a `function` always, all that a module returns.

    Returns why it is not plain that a module of token ids has these logits, or none. Raises `UserError` where
    `asked` cannot be the logits, and `UnsupportedError`.
    """

    def imported(names: Mapping[str, str]) -> Graph:
        """The graph of these outputs, by the names that they get."""
        program.graphs.clear()
        importer = Importer(program, traced.exported, traced.dimensions, weight, prefix)
        return importer.run(inputs, {name: results[given] for name, given in names.items()})

    results = dict(zip(traced.names, result_nodes(traced.exported), strict=True))
    choice, one_sequence = Choice(), False
    tokens_alone = list(inputs) == [INPUT_IDS]
    if function and asked is not None:
        raise UserError(f"a plain function gives all that the module returns: leave out that '{asked}' is its logits")
    if tokens_alone and not function:
        ids = str(next(iter(traced.exported.graph_signature.user_inputs)))
        one_sequence = is_one_sequence(traced.exported, ids)
        choice = choose_logits(traced.exported, traced.dimensions, traced.names, asked, ids)
    elif asked is not None:
        raise UserError(f"'{asked}' cannot be the logits: only a module that takes token ids alone is a language model")
    problem = choice.problem
    if one_sequence and problem is not None:
        raise UnsupportedError(problem)
    if choice.places:
        names = [traced.names[place] for place in choice.places]
        graph = imported({name: name for name in names})
        if one_sequence:
            add_batch(graph)
        try:
            as_logits(graph, [graph.outputs[name] for name in names])
            return problem
        except UnsupportedError as refusal:
            if one_sequence:
                raise
            problem = str(refusal)
    alone = traced.outputs.led_by_logits
    for name, kind in traced.outputs.others.items() if not alone else ():
        raise not_a_tensor(name, kind)
    names = [LOGITS] if alone else traced.names
    # the one answer to token ids has the name that it has in a language model
    named = function and tokens_alone and names == [OUTPUT]
    imported({LOGITS: OUTPUT} if named else {name: name for name in names})
    return problem


class _Weights:
    """Weights by their name in the traced module, each made once and cast to the dtype that was traced."""

    def __init__(
        self,
        program: Program,
        traced: Trace,
        canonical: Mapping[str, str],
        expressions: Mapping[str, WeightExpression],
        dtypes: Mapping[str, torch.dtype],
        prefix: str,
    ) -> None:
        self._program = program
        self._prefix = prefix
        self._constants = traced.exported.constants
        self._canonical = canonical
        self._expressions = expressions
        self._dtypes = dtypes
        self._made: dict[str, Weight] = {}

    def __call__(self, target: str) -> Weight:
        plain = target.removeprefix(self._prefix)
        name = self._canonical.get(plain, plain)
        if name not in self._made:
            expression = self._expressions.get(name)
            expression = self._lifted(target) if expression is None else self._cast(expression, self._dtypes[name])
            self._made[name] = self._program.add_weight(name, expression)
        return self._made[name]

    def _cast(self, expression: WeightExpression, wanted: torch.dtype) -> WeightExpression:
        dtype = element_type(torch.empty(0, dtype=wanted))
        if isinstance(expression.type, TensorType) and expression.type.dtype is not dtype:
            return Applied.of(ops.cast, (expression,), {"dtype": dtype})
        return expression

    def _lifted(self, target: str) -> WeightExpression:
        """A tensor that the module's code made itself, such as `torch.tensor(2.0)`."""
        value: Any = self._constants.get(target)
        if type(value) is not torch.Tensor or value.is_meta:
            raise UnsupportedError(
                f"the value of constant '{target.removeprefix(self._prefix)}' is not known after tracing"
            )
        return stored_array(value)


def stored_array(tensor: torch.Tensor) -> StoredArray:
    """A tensor in memory as a weight; a complex one with its real and imaginary part along a last axis."""
    tensor = tensor.detach().cpu()
    return StoredArray.of(torch.view_as_real(tensor.resolve_conj()).contiguous() if tensor.is_complex() else tensor)
