"""The prover: after every pass, the reference interpreter's answers against those of the program as it came in."""

from __future__ import annotations

import copy
import time
import warnings
from dataclasses import replace

from graphwright.ir import Interpreter, Notice, Op, Program, print_graph, verify
from graphwright.ir.weights import WeightExpression
from graphwright.passes.base import Pass
from graphwright.passes.proving.departure import first_departure, first_rounding
from graphwright.passes.proving.functions import FunctionTrial
from graphwright.passes.proving.judge import Judge
from graphwright.passes.proving.layers import unlike_layers, without_repeats
from graphwright.passes.proving.meaning import Meaning
from graphwright.passes.proving.questions import DOES_NOT_RUN, judge_for, proven_graph, row_flops
from graphwright.passes.proving.result import Proof, ProofError
from graphwright.passes.proving.ruler import Departure, divergence
from graphwright.passes.proving.threads import threads_for
from graphwright.passes.simplifying.convert_dtype import is_written_rounding, own_float

LARGE = 32_000_000
"""Weights from which on layers that are equal to others before them are left out of the proof."""
Content = tuple[dict[str, str], dict[str, WeightExpression]]


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
        """Takes the program as what is right. A large one is proven on a copy without layers that others stand for.

        Raises `PassError` for a program that cannot be run.
        """
        self.notes = []
        self._copy = self._reduced(program)
        self._before = (self._copy or program).clone()
        self._content: Content = _content(self._before)
        self._whole: Content = _content(program)
        self._flops = row_flops(proven_graph(self._before))
        self._meaning = Meaning()
        with threads_for(self._flops):
            self._judge = judge_for(self._before, self._meaning, self.notes)

    def fork(self) -> InterpreterProver:
        """Another prover that has seen what this one has."""
        other = copy.copy(self)
        other.notes = list(self.notes)
        other._copy = None if self._copy is None else self._copy.clone()
        other._judge = replace(self._judge)
        return other

    def check(self, each: Pass, program: Program) -> Proof:
        """Compares the program after a pass. Raises `ProofError`."""
        begin = time.perf_counter()
        asked = program if self._copy is None else self._alike(each, program, self._copy)
        content = _content(asked)
        if content == self._content:
            proof = Proof("exact")
        else:
            self._meaning = self._meaning.fresh()
            with threads_for(self._flops):
                proof = self._compared(each, asked)
        self._before, self._content = asked.clone(), content
        return replace(proof, seconds=time.perf_counter() - begin)

    def _alike(self, each: Pass, program: Program, copy: Program) -> Program:
        """The copy after the pass, which must have treated every layer of the program as one of the copy's."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Notice)  # the pass has said it of the program
            each.run(copy)
        verify(copy)
        whole = _content(program)
        unlike = unlike_layers(program, copy)
        if not unlike and whole != self._whole and _content(copy) == self._content:
            unlike = ["something that was left out"]
        if unlike:
            what = f"{each} does with {unlike[0]} what it does with no layer that was kept for the proof"
            raise ProofError(what, str(each), location=unlike[0], program=self._before)
        self._whole = whole
        return copy

    def _compared(self, each: Pass, program: Program) -> Proof:
        try:
            if each.lossy:
                return self._measured(program)
            departure, failure = self._promised(each, program) if each.promised_dtype else self._kept(each, program)
        except DOES_NOT_RUN as problem:
            what = f"{each} makes a program that does not run: {' '.join(str(problem).split())}"
            raise ProofError(what, str(each), program=self._before) from None
        if failure is not None:
            raise failure
        return Proof("proven", departure.error, departure.bound)

    def _kept(self, each: Pass, program: Program) -> tuple[Departure, ProofError | None]:
        departure = self._judge.departure(program, self._meaning)
        if departure.ratio > 1:
            return departure, self._failure(each, departure, self._meaning)
        excess = self._judge.excess(program)
        return departure, None if excess is None else self._excess(each, program, excess)

    def _promised(self, each: Pass, program: Program) -> tuple[Departure, ProofError | None]:
        """For a pass that changes the types: constants that it leaves are rounded otherwise, so both programs are taken
        without that; and the new one must round no more than the type that is promised, or than the program before
        where its author wrote roundings, which stay."""
        ideal = Meaning(folds=False)
        departure = Judge.of(self._judge.trial, self._before, ideal).departure(program, ideal.fresh())
        if departure.ratio > 1:
            return departure, self._failure(each, departure, ideal)
        own = own_float(self._before)
        written = any(is_written_rounding(op, own) for graph in self._before.graphs.values() for op in graph)
        rounding = self._judge.rounding if written else 0.0
        self._judge = Judge.of(self._judge.trial, program, self._meaning)
        excess = self._judge.promise(rounding)
        return departure, None if excess is None else self._excess(each, program, excess)

    def _measured(self, program: Program) -> Proof:
        """How far a lossy pass leads, in the types that the program declares; from here on that is right."""
        declared = Interpreter()
        before = self._judge.trial.truth(self._before, declared)
        answers = self._judge.trial.answers(program, declared)
        kl, error = divergence(answers, before)
        self._judge = Judge.of(self._judge.trial, program, self._meaning)
        is_language = not isinstance(self._judge.trial, FunctionTrial)
        return Proof("measured", kl=kl if is_language else None, logit_error=error)

    def _failure(self, each: Pass, departure: Departure, meaning: Meaning) -> ProofError:
        answer = departure.answer
        what = f"they are off by {departure.error:.3g}, rounding explains {departure.bound:.3g}"
        right = self._judge.trial.whole(self._before, meaning, answer.key)
        op = None if right is None else first_departure(answer.step, right, meaning)
        return self._error(each, f"at {answer.case}, {answer.key}, {what}", op)

    def _excess(self, each: Pass, program: Program, what: str) -> ProofError:
        answer = next(self._judge.trial.answers(program, self._meaning))
        return self._error(each, what, first_rounding(answer.step, self._meaning, Interpreter()))

    def _error(self, each: Pass, what: str, op: Op | None = None) -> ProofError:
        where = "" if op is None else f"; the first value that departs is {_named(op)}"
        name, location = ("", "") if op is None else (op.name, op.location)
        return ProofError(f"{each} changes the answers: {what}{where}", str(each), name, location, self._before)

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
