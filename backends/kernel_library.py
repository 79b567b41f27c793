"""Kernels as a backend declares them, and the library of them that lowering passes ask and builds take kernels from.

A declaration says what a kernel computes, what it refuses, how the weights lie that it reads, and what a tuner may
turn. It needs nothing of what the kernel is written in: the body is a name, looked up when something is built.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from types import MappingProxyType
from typing import Any, TypeVar, cast

from graphwright.ir.attributes import Attribute
from graphwright.ir.cost import Cost
from graphwright.ir.errors import UnsupportedError, UserError
from graphwright.ir.graph import Op
from graphwright.ir.pricing import declared_cost
from graphwright.ir.targets import Capability, Target
from graphwright.ir.types import Type
from graphwright.ir.weights import WeightExpression

T = TypeVar("T")
Settings = Mapping[str, int]
"""The values of a kernel's choices, by name."""


@dataclass(frozen=True)
class Problem:
    """What a kernel is made for: a device, the types of an op's operands in order (None: absent), its attributes."""

    device: Any
    operands: tuple[Type | None, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict[str, Attribute])

    @classmethod
    def of(cls, device: Any, op: Op) -> Problem:
        return cls(device, tuple(None if v is None else v.type for v in op.operands), op.attributes)


@dataclass(frozen=True)
class Choice:
    """What a tuner may turn. The default is a value, or a function of the problem. Plans write name and value as text.

    `condition` says of a problem and a value why they do not go together, None if they do. If `rounds`, results change
    in their last bits with the value: then all phases of a program must have the same one, or a row's logits would
    depend on the phase that computes them.
    """

    name: str
    values: tuple[int, ...]
    default: int | Callable[[Problem], int]
    about: str
    condition: Callable[[Problem, int], str | None] | None = None
    rounds: bool = False

    def __post_init__(self) -> None:
        assert self.name.isidentifier(), f"'{self.name}' is not a name that a plan can be read with"
        assert min(self.values) >= 0, f"choice '{self.name}' has a value below 0, which plans do not write"

    def default_for(self, problem: Problem) -> int:
        return self.default if isinstance(self.default, int) else self.default(problem)

    def refusal(self, problem: Problem, value: int) -> str | None:
        """Why the choice cannot have the value, None if it can."""
        if value not in self.values:
            return f"is {value}; it must be one of {', '.join(map(str, self.values))}"
        reason = None if self.condition is None else self.condition(problem, value)
        return None if reason is None else f"is {value}: {reason}"


@dataclass(frozen=True)
class OperandLayout:
    """How the arrays of a weight lie in memory. `parts` are the ends of the arrays' names, in order.

    `pack` gives the arrays of a weight by these ends. It may lack some, but never the first. `unpack` gives the weight
    of a type that they stand for.
    """

    name: str
    parts: tuple[str, ...]
    pack: Callable[[WeightExpression], Mapping[str, WeightExpression]]
    unpack: Callable[[Type, Mapping[str, WeightExpression]], WeightExpression]


@dataclass(frozen=True)
class Kernel(Capability):
    """A kernel for an op: what `Capability` says that it takes, under a `name` that no other kernel of a library has.

    `body` is `module:function`. `layouts` are those of weights, by operand, where they are not stored as they are.
    """

    name: str = ""
    body: str = ""
    layouts: Mapping[str, OperandLayout] = field(default_factory=dict[str, OperandLayout], hash=False)
    choices: tuple[Choice, ...] = ()
    price: Callable[[Op], Cost] | None = None

    def load(self) -> Callable[..., Any]:
        """The body. Imports what it is written in."""
        module, _, function = self.body.partition(":")
        return getattr(import_module(module), function)

    def cost(self, op: Op) -> Cost:
        """What the kernel costs for an op: by default what the op itself says."""
        return declared_cost(op) if self.price is None else self.price(op)


@dataclass(frozen=True)
class KernelLibrary:
    """The kernels of a device. Of several for one op the first that takes it is meant."""

    name: str
    device: Any
    kernels: tuple[Kernel, ...]
    step: tuple[Choice, ...] = ()
    """The choices of what runs the kernels of a step one after another."""

    def __post_init__(self) -> None:
        names = [kernel.name for kernel in self.kernels]
        assert all(names), "kernels have names"
        assert len(set(names)) == len(names), f"two kernels of {self.name} have one name"

    @cached_property
    def target(self) -> Target:
        """What lowering passes ask: which ops the kernels take."""
        return Target(self.name, self.kernels)

    def kernel_for(self, op: Op) -> Kernel:
        """The first kernel that takes the op. Raises `UnsupportedError`, which says why none does."""
        kernel = self.target.row_for(op)
        if kernel is None:
            raise UnsupportedError(str(self.target.refusal(op)))
        return cast(Kernel, kernel)

    def kernel(self, name: str) -> Kernel:
        """The kernel of that name. Raises `UserError`, with the nearest one, for another name."""
        return _named(name, {kernel.name: kernel for kernel in self.kernels}, f"library {self.name} has no kernel")

    def settings(self, kernel: Kernel, problem: Problem, chosen: Settings = MappingProxyType({})) -> Settings:
        """The values of the kernel's choices: those chosen, and the defaults of the problem.

        Raises `UserError` for an unknown choice, and for a value that a choice cannot have.
        """
        return _settings(f"kernel {kernel.name}", kernel.choices, problem, chosen)

    def step_settings(self, chosen: Settings = MappingProxyType({})) -> Settings:
        """The values of the choices of a step, as `settings` gives those of a kernel."""
        return _settings(f"a step of {self.name}", self.step, Problem(self.device), chosen)


def _settings(owner: str, choices: Sequence[Choice], problem: Problem, chosen: Settings) -> Settings:
    known = {choice.name: choice for choice in choices}
    for name in chosen:
        _named(name, known, f"{owner} has no choice")
    found = {name: chosen.get(name, choice.default_for(problem)) for name, choice in known.items()}
    for name, value in found.items():
        refusal = known[name].refusal(problem, value)
        if refusal is not None:
            raise UserError(f"{owner}: choice '{name}' {refusal}")
    return found


def _named(name: str, known: Mapping[str, T], none: str) -> T:
    if name in known:
        return known[name]
    near: Sequence[str] = difflib.get_close_matches(name, known, 1, cutoff=0.5)
    hint = f": did you mean '{near[0]}'?" if near else f"; there is {', '.join(known) or 'none'}"
    raise UserError(f"{none} '{name}'{hint}")
