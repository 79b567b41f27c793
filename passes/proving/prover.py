"""The prover: after every pass, the reference interpreter's answers against those of the program as it came in."""

from __future__ import annotations

import time
from dataclasses import replace

from graphwright.ir import Graph, Interpreter, Op, PassError, Program, print_graph, verify
from graphwright.ir.errors import UserError
from graphwright.ir.pricing import graph_cost
from graphwright.ir.weights import WeightExpression
from graphwright.passes.base import Pass
from graphwright.passes.probing import integers, positional_values
from graphwright.passes.proving.answers import Trial
from graphwright.passes.proving.departure import first_departure, first_rounding
from graphwright.passes.proving.functions import FunctionTrial, function_trial
from graphwright.passes.proving.judge import Judge
from graphwright.passes.proving.language import language_trial, tokens_of
from graphwright.passes.proving.layers import without_repeats
from graphwright.passes.proving.meaning import Meaning
from graphwright.passes.proving.result import Proof, ProofError
from graphwright.passes.proving.ruler import Departure, divergence
from graphwright.passes.proving.threads import threads_for

SHORTEST = 28
"""Tokens of the longest row, at least: past the pieces that ragged batches come in."""
DOES_NOT_RUN = (UserError, RuntimeError, IndexError)
"""What the interpreter raises at sizes that a program does not take, or on indices outside a table."""
ROW = 6e10
"""FLOPs that the longest row may take: what float64 arithmetic does in some seconds on two cores."""
LARGE = 32_000_000
"""Weights from which on layers that are equal to others before them are left out of the proof."""
Content = tuple[dict[str, str], dict[str, WeightExpression]]
POSITIONS = 1 << 20
"""Larger numbers in computations on positions are no lengths."""


class InterpreterProver:
    """Proves passes by running the program before and after them in the reference interpreter; see `Prover`.

    Two comparisons follow every pass that changed the program's text. In float64 each answer must be what it was,
    within the noise that rounding in float32 would make (`Noisy`): so folded constants and reordered sums pass, and a
    fault does not, whatever the program's own types. In the declared types the answers must lie no further from those
    than before: so a computation that was moved to a narrower type is found. After a lossy pass its distance is
    reported, and its program is right from there on.

    `notes` says in words what the proof leaves out.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []

    def begin(self, program: Program) -> None:
        """Takes the program as what is right. A large one is proven on a copy without layers that others stand for."""
        self.notes = []
        self._copy = self._reduced(program)
        self._before = (self._copy or program).clone()
        self._content: Content = _content(self._before)
        self._meaning = Meaning()
        graph = self._before.graphs.get("prefill") or self._before.graphs["forward"]
        self._flops = _flops(graph, SHORTEST)
        with threads_for(self._flops):
            self._judge = self._asked(self._before)

    def check(self, each: Pass, program: Program) -> Proof:
        """Compares the program after a pass. Raises `ProofError`."""
        begin = time.perf_counter()
        if self._copy is not None:
            each.run(self._copy)
            verify(self._copy)
            program = self._copy
        content = _content(program)
        if content == self._content:
            proof = Proof("exact")
        else:
            self._meaning = self._meaning.fresh()
            with threads_for(self._flops):
                proof = self._compared(each, program)
        self._before, self._content = program.clone(), content
        return replace(proof, seconds=time.perf_counter() - begin)

    def _compared(self, each: Pass, program: Program) -> Proof:
        try:
            if each.lossy:
                return self._measured(program)
            departure = self._judge.departure(program, self._meaning)
            failure = self._failure(each, departure) if departure.ratio > 1 else self._excess(each, program)
        except DOES_NOT_RUN as problem:
            what = f"{each} makes a program that does not run: {' '.join(str(problem).split())}"
            raise ProofError(what, str(each), program=self._before) from None
        if failure is not None:
            raise failure
        return Proof("proven", departure.error, departure.bound)

    def _measured(self, program: Program) -> Proof:
        """How far a lossy pass leads, in the types that the program declares; from here on that is right."""
        declared = Interpreter()
        before = self._judge.trial.truth(self._before, declared)
        answers = self._judge.trial.answers(program, declared)
        kl, error = divergence(answers, before)
        self._judge = Judge.of(self._judge.trial, program, self._meaning)
        is_language = not isinstance(self._judge.trial, FunctionTrial)
        return Proof("measured", kl=kl if is_language else None, logit_error=error)

    def _failure(self, each: Pass, departure: Departure) -> ProofError:
        answer = departure.answer
        what = f"they are off by {departure.error:.3g}, rounding explains {departure.bound:.3g}"
        right = self._judge.trial.whole(self._before, self._meaning, answer.key)
        op = None if right is None else first_departure(answer.step, right, self._meaning)
        return self._error(each, f"at {answer.case}, {answer.key}, {what}", op)

    def _excess(self, each: Pass, program: Program) -> ProofError | None:
        excess = self._judge.excess(program, each.promised_dtype)
        if excess is None:
            return None
        what = f"in its own types they are off by {excess[0]:.3g}, {excess[1]:.3g} is allowed"
        answer = next(self._judge.trial.answers(program, self._meaning))
        return self._error(each, what, first_rounding(answer.step, self._meaning, Interpreter()))

    def _error(self, each: Pass, what: str, op: Op | None = None) -> ProofError:
        where = "" if op is None else f"; the first value that departs is {_named(op)}"
        name, location = ("", "") if op is None else (op.name, op.location)
        return ProofError(f"{each} changes the answers: {what}{where}", str(each), name, location, self._before)

    # -- what is asked

    def _asked(self, program: Program) -> Judge:
        """Questions of the greatest length that the program takes, as `_lengths` proposes them."""
        lengths, beyond = _lengths(program)
        for length in lengths:
            try:
                judge = Judge.of(_trial(program, length), program, self._meaning)
            except DOES_NOT_RUN:
                continue
            if beyond > length:
                self.notes.append(f"rows of {length} tokens were run; numbers up to {beyond} decide about positions")
            return judge
        raise PassError(
            f"'{program.name}' cannot be proven: it runs with none of {', '.join(map(str, lengths))} tokens"
        )

    def _reduced(self, program: Program) -> Program | None:
        """A copy of a large program without repeated layers; None where all of it is proven."""
        weights = sum(w.type.elements.evaluate({}) for w in program.weights.values())
        copy, dropped = without_repeats(program) if weights >= LARGE else (program, [])
        if not dropped:
            return None
        self.notes.append(
            f"proven on the program without {len(dropped)} of its layers, {dropped[0]} to {dropped[-1]}: "
            "each is equal to two that were kept"
        )
        return copy


def _content(program: Program) -> Content:
    """What a program computes: the text of its graphs, and its weights, which are not spelt out for that."""
    graphs = {name: print_graph(graph) for name, graph in program.graphs.items()}
    return graphs, {name: weight.expression for name, weight in program.weights.items()}


def _named(op: Op) -> str:
    return f"{op.name} at {op.location}" if op.location else op.name


def _trial(program: Program, length: int) -> Trial:
    if tokens_of(program) is not None:
        return language_trial(program, [length, max(1, length * 3 // 5), max(1, min(9, length // 3))])
    return function_trial(program.graphs["forward"], length)


def _lengths(program: Program) -> tuple[list[int], int]:
    """Lengths to try, the longest first: past every number in computations on positions, as far as time and the
    model's context allow; and the largest such number."""
    graph = program.graphs.get("prefill") or program.graphs["forward"]
    is_positional = positional_values(graph)
    numbers = {n for op in graph if all(is_positional(v) for v in op.results) for n in integers(op)}
    numbers |= {n for op in graph if isinstance(n := op.attributes.get("window"), int)}
    numbers = {n for n in numbers if n < POSITIONS}
    context = program.metadata.get("context_length")
    limit = context if isinstance(context, int) else POSITIONS
    wanted = {min(n, limit) for n in (SHORTEST, *(n + 5 for n in numbers))}
    feasible = {n for n in wanted if _flops(graph, n) <= ROW}
    return sorted(feasible | {min(n, limit) for n in (SHORTEST, 8, 1)}, reverse=True), max(numbers, default=0)


def _flops(graph: Graph, length: int) -> int:
    cost = graph_cost(graph)
    return sum(work.flops for work in cost.at(dict.fromkeys(cost.symbols, length) | {"B": 1}))
