"""The prover: after every pass, the reference interpreter's answers against those of the program as it came in."""

from __future__ import annotations

import copy
import time
import warnings
from dataclasses import replace

from graphwright.ir import Interpreter, Notice, Op, Program, print_graph, verify
from graphwright.ir.interpreter import threads_for
from graphwright.ir.weights import WeightExpression
from graphwright.passes.base import Pass
from graphwright.passes.proving.comparison import Comparison
from graphwright.passes.proving.error_bounds import Deviation, divergence
from graphwright.passes.proving.first_deviation import first_deviating_op, first_rounding_op
from graphwright.passes.proving.float64_interpreter import Float64Interpreter
from graphwright.passes.proving.functions import FunctionTrial
from graphwright.passes.proving.layers import unlike_layers, without_repeats
from graphwright.passes.proving.result import Proof, ProofError
from graphwright.passes.proving.trial_selection import DOES_NOT_RUN, comparison_for, proven_graph, row_flops
from graphwright.passes.simplifying.convert_dtype import is_written_rounding, own_float

LARGE = 32_000_000
"""Weights from which on layers that are equal to others before them are left out of the proof."""
Content = tuple[dict[str, str], dict[str, WeightExpression]]


class InterpreterProver:
    """Proves passes by running the program before and after them in the reference interpreter; see `Prover`.

    Two comparisons follow every pass that changed the program's text. In float64 each answer must be what it was,
    within the noise that rounding in float32 would make (`NoisyInterpreter`): so folded constants and reordered sums
    pass, and a fault does not, whatever the program's own types. In the declared types the answers must lie no further
    from those than before: so a computation that was moved to a narrower type is found. After a lossy pass its distance
    is reported, and its program is the reference from there on.

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
        self._float64 = Float64Interpreter()
        with threads_for(self._flops):
            self._comparison = comparison_for(self._before, self._float64, self.notes)

    def fork(self) -> InterpreterProver:
        """Another prover that has seen what this one has."""
        other = copy.copy(self)
        other.notes = list(self.notes)
        other._copy = None if self._copy is None else self._copy.clone()
        other._comparison = replace(self._comparison)
        return other

    def check(self, each: Pass, program: Program) -> Proof:
        """Compares the program after a pass. Raises `ProofError`."""
        begin = time.perf_counter()
        asked = program if self._copy is None else self._alike(each, program, self._copy)
        content = _content(asked)
        if content == self._content:
            proof = Proof("exact")
        else:
            self._float64 = self._float64.fresh()
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
            deviation, failure = self._promised(each, program) if each.promised_dtype else self._kept(each, program)
        except DOES_NOT_RUN as problem:
            what = f"{each} makes a program that does not run: {' '.join(str(problem).split())}"
            raise ProofError(what, str(each), program=self._before) from None
        if failure is not None:
            raise failure
        return Proof("proven", deviation.error, deviation.bound)

    def _kept(self, each: Pass, program: Program) -> tuple[Deviation, ProofError | None]:
        deviation = self._comparison.deviation(program, self._float64)
        if deviation.ratio > 1:
            return deviation, self._failure(each, deviation, self._float64)
        excess = self._comparison.excess_rounding(program)
        return deviation, None if excess is None else self._excess(each, program, excess)

    def _promised(self, each: Pass, program: Program) -> tuple[Deviation, ProofError | None]:
        """For a pass that changes the types: constants that it leaves are rounded otherwise, so both programs are taken
        without that; and the new one must round no more than the type that is promised, or than the program before
        where its author wrote roundings, which stay."""
        ideal = Float64Interpreter(folds=False)
        deviation = Comparison.of(self._comparison.trial, self._before, ideal).deviation(program, ideal.fresh())
        if deviation.ratio > 1:
            return deviation, self._failure(each, deviation, ideal)
        own = own_float(self._before)
        written = any(is_written_rounding(op, own) for graph in self._before.graphs.values() for op in graph)
        rounding = self._comparison.rounding if written else 0.0
        self._comparison = Comparison.of(self._comparison.trial, program, self._float64)
        excess = self._comparison.unexplained_rounding(rounding)
        return deviation, None if excess is None else self._excess(each, program, excess)

    def _measured(self, program: Program) -> Proof:
        """How far a lossy pass leads, in the types that the program declares; from here on that is right."""
        declared = Interpreter()
        before = self._comparison.trial.truth(self._before, declared)
        answers = self._comparison.trial.answers(program, declared)
        kl, error = divergence(answers, before)
        self._comparison = Comparison.of(self._comparison.trial, program, self._float64)
        is_language = not isinstance(self._comparison.trial, FunctionTrial)
        return Proof("measured", kl=kl if is_language else None, logit_error=error)

    def _failure(self, each: Pass, deviation: Deviation, float64: Float64Interpreter) -> ProofError:
        answer = deviation.answer
        what = f"they are off by {deviation.error:.3g}, rounding explains {deviation.bound:.3g}"
        right = self._comparison.trial.whole(self._before, float64, answer.key)
        op = None if right is None else first_deviating_op(answer.step, right, float64)
        return self._error(each, f"at {answer.case}, {answer.key}, {what}", op)

    def _excess(self, each: Pass, program: Program, what: str) -> ProofError:
        answer = next(self._comparison.trial.answers(program, self._float64))
        return self._error(each, what, first_rounding_op(answer.step, self._float64, Interpreter()))

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
