"""How an op is declared, once: signature, type rule, reference evaluation, flow of axes and cost in one place.

The type rule is a function; its signature *is* the op's signature. Positional parameters are operands (`None` in the
annotation makes one optional, `*xs` variadic), keyword-only parameters are attributes with their kinds and defaults:

    @op("rms_norm")
    def rms_norm(x: TensorType, weight: TensorType, *, epsilon: float) -> TensorType:
        '''Scales x by the reciprocal of its root mean square over the last axis (Zhang & Sennrich 2019, eq. 4).'''
        ...

    @rms_norm.reference
    def rms_norm_reference(x, weight, *, epsilon): ...

Calling a declared op builds a pattern for the rewriting engine: `ops.rms_norm(x, w, epsilon=e)`.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from graphwright.ir.attributes import Attribute, attribute_text, is_of, normalize
from graphwright.ir.cost import Cost, default_cost
from graphwright.ir.errors import IRTypeError
from graphwright.ir.traits import Trait, with_implied
from graphwright.ir.types import QuantizedType, StateType, TensorType, Type

if TYPE_CHECKING:
    from graphwright.ir.graph import Op
    from graphwright.ir.rewriting.pattern import Pattern

AxisFlow = tuple[tuple["int | None", ...], ...]
"""For each operand that is present, for each of its axes: the axis of the (first) result that it becomes element by
element, or None where the op mixes the elements of that axis or picks among them."""

REGISTRY: dict[str, OpDef] = {}

T = TypeVar("T")
TypeRule = Callable[..., "Type | tuple[Type, ...]"]
_KINDS: dict[type, str] = {TensorType: "a tensor", QuantizedType: "a quantized weight", StateType: "a state"}


@dataclass(frozen=True)
class Operand:
    name: str
    optional: bool
    variadic: bool
    kinds: tuple[type, ...]
    """The kinds of type that it may have, as its annotation names them."""

    def fits(self, type: Type | None) -> bool:
        return self.optional if type is None else isinstance(type, self.kinds)


@dataclass(frozen=True)
class AttributeSpec:
    name: str
    kind: Any
    default: Any
    required: bool


class OpDef:
    """The declaration of an op. Ops in a graph point to it."""

    def __init__(
        self,
        name: str,
        rule: TypeRule,
        *traits: Trait,
        commutative: bool,
        view: bool,
        in_place: Mapping[int, str] | None,
    ) -> None:
        self.name = name
        self.rule = rule
        self.traits = with_implied(traits)
        self.commutative = commutative
        self.view = view
        """Whether the op only renames elements: no bytes move and nothing is launched."""
        self.in_place = dict(in_place or {})
        """Of each result that is written into an operand's buffer, a cache, the name of that operand. An op need not
        have all of these results."""
        self.doc = inspect.getdoc(rule) or ""
        hints = typing.get_type_hints(rule)
        operands: list[Operand] = []
        attributes: list[AttributeSpec] = []
        for parameter in inspect.signature(rule).parameters.values():
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                required = parameter.default is inspect.Parameter.empty
                default = None if required else parameter.default
                attributes.append(AttributeSpec(parameter.name, hints[parameter.name], default, required))
            else:
                variadic = parameter.kind is inspect.Parameter.VAR_POSITIONAL
                hint = hints[parameter.name]
                kinds = tuple(k for k in typing.get_args(hint) or (hint,) if k is not type(None))
                operands.append(Operand(parameter.name, parameter.default is None, variadic, kinds))
        self.operands = tuple(operands)
        self.attributes = {a.name: a for a in attributes}
        self.variadic = any(o.variadic for o in operands)
        self._known_kinds: set[tuple[str, tuple[Any, ...]]] = set()
        self._evaluate: Callable[..., Any] | None = None
        self._flow: Callable[[Op], AxisFlow] | None = None
        self._cost: Callable[[Op], Cost] | None = None

    # -- declaring the parts

    def reference(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The evaluation by torch. Floats narrower than float32 arrive widened and leave rounded to the result type."""
        self._evaluate = function
        return function

    def axes(self, function: Callable[[Op], AxisFlow]) -> Callable[[Op], AxisFlow]:
        """How axes flow from operands to the result; without it every axis counts as mixed."""
        self._flow = function
        return function

    def cost(self, function: Callable[[Op], Cost]) -> Callable[[Op], Cost]:
        """FLOPs and bytes; without it one FLOP an element, and operands and results are read and written once."""
        self._cost = function
        return function

    def alike(self, name: str) -> OpDef:
        """Declares the same op under another name, for another target."""
        made = op(name, *self.traits, commutative=self.commutative, view=self.view, in_place=self.in_place)(self.rule)
        made._evaluate, made._flow, made._cost = self._evaluate, self._flow, self._cost
        return made

    # -- using them

    def has(self, trait: Trait) -> bool:
        return trait in self.traits

    def operand_index(self, name: str) -> int:
        for i, operand in enumerate(self.operands):
            if operand.name == name:
                return i
        raise KeyError(f"{self.name} has no operand {name}")

    def require_kind(self, name: str, kinds: tuple[Any, ...]) -> None:
        """Asserts that an attribute of this name is declared, and of no other kinds than these."""
        if (name, kinds) not in self._known_kinds:
            spec = self.attributes.get(name)
            assert spec is not None, f"{self.name} has no attribute {name}"
            assert is_of(spec.kind, kinds), f"{self.name} declares {name} as {spec.kind}, it is read as {kinds}"
            self._known_kinds.add((name, kinds))

    def complete(self, given: Mapping[str, Attribute], location: str = "") -> dict[str, Attribute]:
        """All attributes, of their declared kinds and in declared order. Stray or missing ones raise `IRTypeError`."""
        complete: dict[str, Attribute] = {}
        for name, spec in self.attributes.items():
            if name not in given:
                if spec.required:
                    raise self.error(f"attribute '{name}' is missing", location)
                complete[name] = spec.default
                continue
            try:
                complete[name] = normalize(given[name], spec.kind)
            except TypeError as wanted:
                text = attribute_text(given[name])
                raise self.error(f"attribute '{name}' is {text}, expected {wanted}", location) from None
        for name in given:
            if name not in self.attributes:
                raise self.error(f"there is no attribute '{name}'", location)
        return complete

    def pad(self, operands: Iterable[T | None], location: str = "") -> list[T | None]:
        """The operands with None for each optional one left out at the end; raises `IRTypeError` on a wrong number."""
        padded = list(operands)
        if self.variadic:
            return padded
        if len(padded) > len(self.operands):
            raise self.error(f"{len(padded)} operands given, at most {len(self.operands)} expected", location)
        padded += [None] * (len(self.operands) - len(padded))
        for operand, value in zip(self.operands, padded, strict=True):
            if value is None and not operand.optional:
                raise self.error(f"operand '{operand.name}' is missing", location)
        return padded

    def infer(
        self, types: Iterable[Type | None], attributes: Mapping[str, Attribute], location: str = ""
    ) -> tuple[Type, ...]:
        """The result types. Raises `IRTypeError`, naming the op and its module path, if the operands do not fit."""
        types = tuple(types)
        for i, type in enumerate(types):
            operand = self.operands[0 if self.variadic else i]
            if not operand.fits(type):
                if type is None:
                    raise self.error(f"operand '{operand.name}' is missing", location)
                wanted = " or ".join(_KINDS[kind] for kind in operand.kinds)
                raise self.error(f"operand '{operand.name}' is {type}, expected {wanted}", location)
        try:
            result = self.rule(*types, **attributes)
        except IRTypeError as problem:
            listed = ", ".join("none" if t is None else str(t) for t in types)
            raise self.error(f"{problem} (operands: {listed})", location) from None
        return result if isinstance(result, tuple) else (result,)

    def infer_op(self, op: Op) -> tuple[Type, ...]:
        return self.infer([None if v is None else v.type for v in op.operands], op.attributes, op.location)

    def evaluate(self, operands: Iterable[Any], attributes: Mapping[str, Any]) -> Any:
        """The reference evaluation on torch tensors; attributes hold integers where they were dimensions."""
        assert self._evaluate is not None, f"{self.name} has no reference"
        return self._evaluate(*operands, **attributes)

    @property
    def has_reference(self) -> bool:
        return self._evaluate is not None

    def axis_flow(self, op: Op) -> AxisFlow:
        """See `AxisFlow`; one entry an operand, the absent ones left out."""
        if self._flow is None:
            return tuple((None,) * v.type.rank for v in op.inputs)
        return self._flow(op)

    @property
    def states_cost(self) -> bool:
        """Whether its cost is declared, or known for nothing: that of a view."""
        return self._cost is not None or self.view

    def price(self, op: Op) -> Cost:
        return self._cost(op) if self._cost is not None else default_cost(op)

    def error(self, message: str, location: str) -> IRTypeError:
        return IRTypeError(f"{self.name}{' at ' + location if location else ''}: {message}")

    def __call__(self, *operands: Pattern | float | None, **attributes: Any) -> Pattern:
        from graphwright.ir.rewriting.pattern import op_pattern

        return op_pattern(self, operands, attributes)

    def __repr__(self) -> str:
        return f"<op {self.name}>"


def op(
    name: str,
    *traits: Trait,
    commutative: bool = False,
    view: bool = False,
    in_place: Mapping[int, str] | None = None,
) -> Callable[[TypeRule], OpDef]:
    """Declares an op by its type rule, with its traits; see this module's docstring."""

    def declare(rule: TypeRule) -> OpDef:
        assert name not in REGISTRY, f"{name} is declared twice"
        REGISTRY[name] = OpDef(name, rule, *traits, commutative=commutative, view=view, in_place=in_place)
        return REGISTRY[name]

    return declare
