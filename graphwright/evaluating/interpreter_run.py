"""Programs in the reference interpreter: the greedy tokens of a decoder, the outputs of a function."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from graphwright.errors import UsageError
from graphwright.evaluating.interpreter_language import FREE_CONTEXT, metadata_tokens
from graphwright.ir import Graph, Interpreter, Program, StoredFile, Value, WeightError
from graphwright.ir.convention import (
    BATCH,
    CONTEXT_LENGTH,
    DECODER_START_TOKEN_ID,
    ENCODE,
    EOS_TOKEN_IDS,
    FORWARD,
    LOGITS,
    PREFILL,
    context_window,
    is_decoder,
)
from graphwright.ir.interpreter import bind_symbols, threads_for
from graphwright.ir.lazy import torch
from graphwright.ir.weights import sources
from graphwright.passes.proving.cached import CachedRun, Context
from graphwright.passes.proving.inputs import random_input
from graphwright.passes.proving.trial_selection import row_flops

if TYPE_CHECKING:
    from torch import Tensor

EXAMPLE_ROWS, EXAMPLE_SIZE = 2, 8
"""The batch, and the size of any other symbol, where no given input settles it."""


def require_weights(program: Program) -> None:
    """Raises UsageError, before anything is computed, for a weight whose file or tensor is not there."""
    for weight in program.weights.values():
        for leaf in sources(weight.expression):
            if isinstance(leaf, StoredFile):
                try:
                    leaf.open()
                except WeightError as problem:
                    raise UsageError(f"weight '{weight.name}' cannot be read: {problem}") from None


def run_graphs(program: Program) -> list[Graph]:
    """The graphs that a run calls, in order. Raises UsageError for a program that has none of these."""
    main = PREFILL if is_decoder(program) else FORWARD
    if main not in program.graphs:
        names = ", ".join(program.graphs) or "none"
        raise UsageError(f"'{program.name}' has the graphs {names}; what can be run is {PREFILL} or {FORWARD}")
    return [program.graphs[name] for name in (ENCODE, main) if name in program.graphs]


def given_inputs(program: Program) -> dict[str, tuple[Graph, Value]]:
    """The inputs that a caller gives, by name: not what `encode` makes for the graph behind it.

    Where both graphs take an input of one name, as both take token ids, each has the graph's name before its own.
    """
    graphs = run_graphs(program)
    made = {name for graph in graphs[:-1] for name in graph.outputs}
    outside = [(graph, v) for graph in graphs for v in graph.inputs if v.name not in made]
    counts = Counter(str(v.name) for _, v in outside)
    return {f"{graph.name}.{v.name}" if counts[str(v.name)] > 1 else str(v.name): (graph, v) for graph, v in outside}


# -- functions


def run_function(
    program: Program, given: Mapping[str, Tensor], seed: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The inputs that a caller gives, by the names of `given_inputs`, and the outputs of `forward`.

    Inputs that are not given are drawn by the seed: floats of size one, indices inside their table. Sizes that no
    given input settles are 2 rows, and 8 of anything else. Raises UsageError and `UserError` for what does not fit.
    """
    generator = torch.Generator().manual_seed(seed)
    interpreter = Interpreter()
    names = {value: name for name, (_, value) in given_inputs(program).items()}
    inputs: dict[str, Tensor] = {}
    outputs: dict[str, Tensor] = {}
    for graph in run_graphs(program):
        values = [(str(v.name), v, names.get(v)) for v in graph.inputs]
        known = {own: outputs[own] for own, _, name in values if name is None}
        known |= {own: given[name] for own, _, name in values if name is not None and name in given}
        sizes = _sizes(graph, known)
        for own, value, name in values:
            if name is not None:
                inputs[name] = known[own] if own in known else random_input(graph, value, sizes, generator)
        taken = {own: known[own] if name is None else inputs[name] for own, _, name in values}
        with _refusals(graph), threads_for(row_flops(graph)):
            outputs = interpreter.run(graph, taken)
    return inputs, outputs


def _sizes(graph: Graph, given: Mapping[str, Tensor]) -> dict[str, int]:
    """A size for every symbol of a graph: what given inputs say, or an example's."""
    known = Graph(graph.name)
    for value in graph.inputs:
        if value.name in given:
            known.add_input(str(value.name), value.type)
    examples = {symbol: EXAMPLE_ROWS if symbol == BATCH else EXAMPLE_SIZE for symbol in graph.symbols}
    return {**examples, **bind_symbols(known, given)}


@contextmanager
def _refusals(graph: Graph) -> Generator[None]:
    """Raises UsageError for what an op says of numbers or sizes that it cannot take."""
    try:
        yield
    except (RuntimeError, IndexError) as problem:
        what = " ".join(str(problem).split())
        raise UsageError(f"graph '{graph.name}' does not run on these inputs: {what}") from None


# -- decoders


def greedy_tokens(
    program: Program, prompt: Sequence[int], count: int, context: Context | None = None
) -> Generator[int]:
    """At most so many tokens, each the likeliest after those before it. One that ends a text ends them, left out.

    The prompt has one token at least; `context` is what a program with an encoder reads, by the name of its input and
    without a batch axis. The program's own context bounds them all. Raises UsageError.
    """
    longest = context_window(program) or FREE_CONTEXT + len(prompt) + count
    if len(prompt) >= longest:
        raise UsageError(f"the prompt has {len(prompt)} tokens, and '{program.name}' takes fewer than {longest}")
    graph = program.graphs[PREFILL]
    capacity = min(longest, len(prompt) + count)
    ends = metadata_tokens(program, EOS_TOKEN_IDS)
    with _refusals(graph), threads_for(row_flops(graph, len(prompt))):
        run = CachedRun(program, Interpreter(), 1, capacity, [] if context is None else [context])
        ids = torch.tensor([list(prompt)])
        for _ in range(capacity - len(prompt)):
            new = torch.tensor([ids.shape[1]])
            token = int(run.step(ids, new, new[None] - 1).logits[0, -1].argmax())
            if token in ends:
                return
            yield token
            ids = torch.tensor([[token]])


def context_input(program: Program) -> Value | None:
    """What a program with an encoder reads beside the tokens; None without one. Raises UsageError for several."""
    encode = program.graphs.get(ENCODE)
    values = [] if encode is None else [v for v in encode.inputs if v.name != CONTEXT_LENGTH]
    if len(values) > 1:
        names = ", ".join(str(v.name) for v in values)
        raise UsageError(f"'{program.name}' reads {names} beside its tokens; only one context can be given")
    return values[0] if values else None


def start_token(program: Program) -> int:
    """What the tokens beside a context begin with. Raises UsageError where the program does not say."""
    start = program.metadata.get(DECODER_START_TOKEN_ID)
    if not isinstance(start, int):
        raise UsageError(f"'{program.name}' does not say which token its decoder starts from")
    return start


def token_count(program: Program) -> int:
    """How many token ids a decoder knows."""
    return program.graphs[PREFILL].outputs[LOGITS].type.shape[-1].evaluate({})
