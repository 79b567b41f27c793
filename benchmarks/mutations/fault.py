"""A planted fault: a bug of one pass, as a pass that takes the place of the true one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from graphwright.ir import Program
from graphwright.ir.rewriting import Outcome
from graphwright.passes import Pass

Run = Callable[[Pass, Program], Outcome]
"""What a faulty pass does instead of the true one, which it is given."""


@dataclass(frozen=True)
class Fault:
    """`occurrence` counts the passes of that name in the subject's pipeline. A harmless one must change no answer."""

    name: str
    description: str
    subject: str
    each: str
    occurrence: int
    harmless: bool
    run: Run

    def place(self, passes: Sequence[Pass]) -> int:
        """Where in the pipeline the faulty pass stands."""
        return [i for i, each in enumerate(passes) if each.name == self.each][self.occurrence]

    def planted(self, passes: Sequence[Pass]) -> list[Pass]:
        """The pipeline with the faulty pass, of the same name, class and options, in place of the true one."""
        place = self.place(passes)
        return [_faulty(each, self.run) if i == place else each for i, each in enumerate(passes)]


def _faulty(true: Pass, run: Run) -> Pass:
    def faulty(self: Pass, program: Program) -> Outcome:
        return run(true, program)

    options: dict[str, Any] = {f.name: getattr(true, f.name) for f in fields(true)}
    return type(type(true).__name__, (type(true),), {"run": faulty})(**options)


def in_place_of(
    each: str, subject: str, occurrence: int = 0, *, harmless: bool = False
) -> Callable[[Callable[..., Outcome]], Fault]:
    """The decorated function is what the faulty pass does; its name and docstring are the fault's."""

    def decorate(function: Callable[..., Outcome]) -> Fault:
        assert function.__doc__ is not None
        name, description = function.__name__.replace("_", "-"), function.__doc__.strip()
        return Fault(name, description, subject, each, occurrence, harmless, function)

    return decorate


def after(
    each: str, subject: str, occurrence: int = 0, *, harmless: bool = False
) -> Callable[[Callable[[Program], None]], Fault]:
    """The decorated function alters what the true pass left, as a bug in it would have."""

    def decorate(alter: Callable[[Program], None]) -> Fault:
        def run(true: Pass, program: Program) -> Outcome:
            outcome = true.run(program)
            alter(program)
            for graph in program.graphs.values():
                graph.erase_dead()
            program.erase_unused_weights()
            return outcome

        run.__name__, run.__doc__ = alter.__name__, alter.__doc__
        return in_place_of(each, subject, occurrence, harmless=harmless)(run)

    return decorate


def faults_of(names: dict[str, Any]) -> tuple[Fault, ...]:
    """The faults among a module's names, in order."""
    return tuple(each for each in names.values() if isinstance(each, Fault))
