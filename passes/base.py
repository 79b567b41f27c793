"""What a pass is: a frozen dataclass whose fields are its options, with a contract that is checked, not remembered."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import Field, dataclass, fields
from typing import Any, ClassVar, TypeVar

from graphwright.ir import DType, Graph, PassError, Program
from graphwright.ir.attributes import attribute_text
from graphwright.ir.convention import FORWARD, is_decoder
from graphwright.ir.rewriting import Outcome, Rule, rewrite

Contract = Callable[[Program], "str | None"]
"""A condition on a program: None if it holds, else what is wrong, in words that tell the reader what to do."""


@dataclass(frozen=True)
class Pass(ABC):
    """A transformation of a program. A subclass's fields are its options, but for those `handed_in`."""

    name: ClassVar[str]
    lossy: ClassVar[bool] = False
    """Whether the answers may change by more than rounding."""
    findings: ClassVar[tuple[str, ...]] = ()
    """The names under which it counts what it did and tells what it nearly did; see `rule_names`."""
    requires: ClassVar[tuple[Contract, ...]] = ()
    ensures: ClassVar[tuple[Contract, ...]] = ()

    @property
    def promised_dtype(self) -> DType | None:
        """The float type in which the program computes from here on, if the pass is there to see to that."""
        return None

    @abstractmethod
    def run(self, program: Program) -> Outcome:
        """Changes the program in place; raises `PassError` where it must refuse."""

    @classmethod
    def rule_names(cls) -> tuple[str, ...]:
        """What can match, by name: its rules and other findings."""
        return cls.findings

    def __str__(self) -> str:
        """The pass as the command line spells it: `convert-dtype{to="f32"}`, options at their defaults left out."""
        shown = [
            f"{f.name}={attribute_text(getattr(self, f.name))}"
            for f in option_fields(type(self))
            if getattr(self, f.name) != f.default
        ]
        return self.name + (f"{{{', '.join(shown)}}}" if shown else "")


@dataclass(frozen=True)
class GraphPass(Pass):
    """A pass that treats every graph by itself."""

    def run(self, program: Program) -> Outcome:
        outcome = Outcome()
        for graph in program.graphs.values():
            outcome.merge(self.run_graph(program, graph))
            graph.erase_dead()
        program.erase_unused_weights()
        return outcome

    @abstractmethod
    def run_graph(self, program: Program, graph: Graph) -> Outcome:
        """Changes one graph in place; what it leaves dead is erased afterwards."""


@dataclass(frozen=True)
class RulePass(GraphPass):
    """A pass that applies rewriting rules."""

    rules: ClassVar[tuple[Rule, ...]]

    @classmethod
    def rule_names(cls) -> tuple[str, ...]:
        return (*(rule.name for rule in cls.rules), *cls.findings)

    def run_graph(self, program: Program, graph: Graph) -> Outcome:
        return rewrite(program, graph, self.rules)


TARGET = "target"


def handed_in(target: str) -> Mapping[str, str]:
    """Metadata of a field that is not an option: the target of that name, which whoever makes the pass hands in."""
    return {TARGET: target}


def option_fields(cls: type[Pass]) -> tuple[Field[Any], ...]:
    """The fields of a pass that are its options."""
    return tuple(f for f in fields(cls) if TARGET not in f.metadata)


def target_fields(cls: type[Pass]) -> dict[str, str]:
    """Of the fields of a pass that are handed in, the names of the targets."""
    return {f.name: f.metadata[TARGET] for f in fields(cls) if TARGET in f.metadata}


REGISTRY: dict[str, type[Pass]] = {}


P = TypeVar("P", bound=Pass)


def register(cls: type[P]) -> type[P]:
    """Makes a pass known by its name to pipelines and the command line."""
    assert cls.name not in REGISTRY, f"two passes named {cls.name}"
    REGISTRY[cls.name] = cls
    return cls


def has_forward(program: Program) -> str | None:
    """Contract: the program is as captured, without a cache."""
    if FORWARD in program.graphs:
        return None
    return f"program '{program.name}' has no graph 'forward' (it has {', '.join(program.graphs) or 'none'})"


def has_prefill(program: Program) -> str | None:
    """Contract: the KV cache has been inserted."""
    if is_decoder(program):
        return None
    return f"program '{program.name}' has no graph 'prefill': run insert-kv-cache first"


__all__ = [
    "REGISTRY",
    "Contract",
    "GraphPass",
    "Pass",
    "PassError",
    "RulePass",
    "handed_in",
    "has_forward",
    "has_prefill",
    "option_fields",
    "register",
    "target_fields",
]


ProgressListener = Callable[[int, int], object]
"""Called with how many steps are done, and of how many."""

_listener: ContextVar[ProgressListener | None] = ContextVar("listener", default=None)


@contextmanager
def progress_to(listener: ProgressListener | None) -> Generator[None]:
    """Inside, `report_progress` calls the listener, or nobody if it is None."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def report_progress(done: int, total: int) -> None:
    """Reports how many steps of a long pass are done."""
    listener = _listener.get()
    if listener is not None:
        listener(done, total)
