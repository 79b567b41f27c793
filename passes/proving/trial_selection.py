"""The inputs that a proof runs a program with: which trial fits it, and rows of which lengths."""

from collections.abc import Iterator

from graphwright.ir import Graph, PassError, Program
from graphwright.ir.convention import BATCH, ENCODE, FORWARD, PREFILL, STEPS, context_window, main_graph
from graphwright.ir.errors import UserError
from graphwright.ir.pricing import graph_cost
from graphwright.passes.proving.answers import Trial
from graphwright.passes.proving.comparison import Comparison
from graphwright.passes.proving.float64_interpreter import Float64Interpreter
from graphwright.passes.proving.functions import function_trial
from graphwright.passes.proving.language import language_trial, tokens_of
from graphwright.passes.raising.probing import integers, positional_values, tables

SHORTEST = 28
"""Tokens of the longest row, at least: past the pieces that ragged batches come in."""
BEYOND = 5
"""Tokens by which a row exceeds a number that decides about positions."""
ROW = 6e10
"""FLOPs that the longest row may take: what float64 arithmetic does in some seconds on two cores."""
FARTHEST = 1 << 20
"""Larger numbers in computations on positions are no lengths."""
RUN = {FORWARD, ENCODE, *STEPS}
"""The graphs that trials run."""
DOES_NOT_RUN = (UserError, RuntimeError, IndexError)
"""What the interpreter raises at sizes that a program does not take, or on indices outside a table."""


def proven_graph(program: Program) -> Graph:
    """The graph that answers. Raises `PassError` where there is none that a trial could ask."""
    graph = main_graph(program)
    if graph is None or not graph.outputs or (graph.name == PREFILL and tokens_of(program) is None):
        what = "neither a graph 'forward' nor a graph 'prefill' that gives logits"
        raise PassError(f"'{program.name}' cannot be proven: it has {what}")
    return graph


def comparison_for(program: Program, float64: Float64Interpreter, notes: list[str]) -> Comparison:
    """Questions of the greatest length that the program takes, its own answers taken for right.

    What is not asked is added to the notes. Raises `PassError` where nothing can be.
    """
    graph = proven_graph(program)
    tried, beyond = _lengths(program, graph)
    notes += [f"graph '{name}' is not run" for name in program.graphs if name not in RUN]
    for length in tried:
        for trial in _trials(program, length):
            try:
                comparison = Comparison.of(trial, program, float64)
            except DOES_NOT_RUN:
                continue
            if beyond > length:
                notes.append(f"rows of {length} tokens were run; numbers up to {beyond} decide about positions")
            return comparison
    raise PassError(f"'{program.name}' cannot be proven: it runs with none of {', '.join(map(str, tried))} tokens")


def _trials(program: Program, length: int) -> Iterator[Trial]:
    if tokens_of(program) is not None:
        yield language_trial(program, [length, max(1, length * 3 // 5), max(1, min(9, length // 3))])
        return
    # Integers that pick nothing may be masks, which take 0 and 1 only: other numbers are asked for where they can be.
    for numbered in (True, False):
        yield function_trial(program.graphs[FORWARD], length, numbered)


def _lengths(program: Program, graph: Graph) -> tuple[list[int], int]:
    """Lengths to try, the longest first: past every number in computations on positions, and as long as every table
    that they read, as far as time and the model's context allow; and the largest of those numbers."""
    is_positional = positional_values(graph)
    positional = [op for op in graph if all(is_positional(v) for v in op.results)]
    numbers = {n for op in positional for n in integers(op) if n < FARTHEST}
    numbers |= {n for op in graph if isinstance(n := op.attributes.get("window"), int)}
    table = {n for n in tables(positional) if n < FARTHEST}
    limit = context_window(program) or FARTHEST
    wanted = {min(n, limit) for n in (SHORTEST, *(n + BEYOND for n in numbers), *table)}
    feasible = {n for n in wanted if row_flops(graph, n) <= ROW}
    tried = sorted(feasible | {min(n, limit) for n in (SHORTEST, 8, 1)}, reverse=True)
    return tried, max(numbers | table, default=0)


def row_flops(graph: Graph, length: int = SHORTEST) -> int:
    """FLOPs of one row of that length."""
    cost = graph_cost(graph)
    return sum(work.flops for work in cost.at(dict.fromkeys(cost.symbols, length) | {BATCH: 1}))
