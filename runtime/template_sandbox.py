"""Jinja's immutable sandbox in which every step pays from a budget; see `template_budget`.

Operators, calls and filters pass through methods of the environment. What Jinja compiles to plain Python instead
(loops, output, `~`, slices, literals) is rewritten in the template's tree to filters that pay.
"""

import functools
from collections.abc import Callable
from typing import Any

from jinja2 import Template, TemplateRuntimeError, nodes, pass_context
from jinja2.runtime import Context, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from graphwright.runtime.template_budget import (
    PARTS_LIMIT,
    SOURCE_LIMIT,
    BudgetError,
    check_brace_format,
    check_filter,
    check_method,
    check_operator,
    current_budget,
)

# A name with a space cannot be written in a template.
_PAID, _CONCATENATED, _SLICED, _SPENT = " paid", " concatenated", " sliced", " spent"

_SLOW_FILTERS = frozenset(("pprint", "striptags", "urlize", "wordwrap", "xmlattr"))
"""For web pages and for debugging. Their time grows with the square of a text, or is not known."""


class BudgetedSandbox(ImmutableSandboxedEnvironment):
    """Compiles templates whose rendering pays from the current budget, and raises BudgetError when it is spent."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        filters = {name: function for name, function in self.filters.items() if name not in _SLOW_FILTERS}
        self.filters: dict[str, Callable[..., Any]] = {
            name: _paying_filter(name, function) for name, function in filters.items()
        }
        tests = self.tests
        self.tests: dict[str, Callable[..., Any]] = {name: _paying_test(test) for name, test in tests.items()}
        self.filters |= {_PAID: _paid, _CONCATENATED: _concatenated, _SLICED: _sliced, _SPENT: _spent}
        # Filler text of any length, of no use to a chat.
        del self.globals["lipsum"]
        ours: dict[str, Any] = {"namespace": _Namespace, "range": _range}
        self.globals.update(ours)

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        """A filter of ours, which pays as Jinja's own do."""
        self.filters[name] = _paying_filter(name, function)

    def compile_template(self, source: str) -> Template:
        """The template of `source`. Raises BudgetError, TemplateSyntaxError, or what Python's own compiler raises."""
        if len(source) > SOURCE_LIMIT:
            raise BudgetError(f"it has {len(source)} characters, more than {SOURCE_LIMIT}")
        tree = self.parse(source)
        if sum(1 for _ in tree.find_all(nodes.Node)) > PARTS_LIMIT:
            raise BudgetError(f"it has more than {PARTS_LIMIT} parts")
        tree = _Rewriting().visit(tree)
        tree.set_environment(self)
        return Template.from_code(self, self.compile(tree), self.make_globals(None))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        check_operator(operator, left, right)
        return current_budget().made(super().call_binop(context, operator, left, right))

    def call(
        __self,  # pyright: ignore[reportSelfClsParameterName] - as in Jinja, so that no keyword of a template clashes
        __context: Context,
        __obj: Any,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        budget = current_budget()
        budget.spend(1)
        owner = getattr(__obj, "__self__", None)
        if isinstance(owner, str | bytes | int):
            check_method(owner, __obj.__name__, [*args, *kwargs.values()])
        return budget.made(super().call(__context, __obj, *args, **kwargs))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        format_text = super().wrap_str_format(value)
        if format_text is None:
            return None

        def paying(*args: Any, **kwargs: Any) -> str:
            check_brace_format(value.__self__, [args, kwargs])
            return current_budget().made(format_text(*args, **kwargs))

        return paying


def _range(*bounds: int) -> range:
    """The sandbox's, of small numbers: multiples of 2 ** 61 - 1 have one hash, so that a dict of them is slow."""
    if any(abs(each) >= 1 << 60 for each in bounds):
        raise BudgetError("it makes a range of numbers that are too large")
    return safe_range(*bounds)


class _Namespace(Namespace):
    """Jinja's, without names of Python's own, and printed without what it holds, which may hold the namespace."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise TemplateRuntimeError(f"a namespace has no attribute {name!r}: it begins with an underscore")
        super().__setitem__(name, value)

    def __repr__(self) -> str:
        return "<Namespace>"


class _Rewriting(NodeTransformer):
    """Makes the steps pay that the environment is not asked about."""

    def visit_For(self, node: nodes.For) -> nodes.Node:
        self.generic_visit(node)
        node.body.insert(0, _spend(1, node.lineno))
        return node

    def visit_Output(self, node: nodes.Output) -> list[nodes.Node]:
        self.generic_visit(node)
        literal = sum(len(each.data) for each in node.nodes if isinstance(each, nodes.TemplateData))
        node.nodes = [
            each if isinstance(each, nodes.TemplateData) else _filtered(each, _PAID, each.lineno) for each in node.nodes
        ]
        return [_spend(4 * literal, node.lineno), node]

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(nodes.Tuple(node.nodes, "load"), _CONCATENATED, node.lineno)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        bounds = [each or nodes.Const(None) for each in (node.arg.start, node.arg.stop, node.arg.step)]
        return _filtered(node.node, _SLICED, node.lineno, bounds)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._literal(node, node.items)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self._literal(node, node.items) if node.ctx == "load" else node

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._literal(node, [part for pair in node.items for part in (pair.key, pair.value)])

    def _literal(self, node: nodes.Expr, items: list[nodes.Expr]) -> nodes.Node:
        constant = all(isinstance(each, nodes.Const) for each in items)
        self.generic_visit(node)
        return node if constant else _filtered(node, _PAID, node.lineno)


def _filtered(node: nodes.Expr, name: str, line: int, arguments: list[Any] | None = None) -> nodes.Filter:
    return nodes.Filter(node, name, arguments or [], [], None, None, lineno=line)


def _spend(amount: int, line: int) -> nodes.ExprStmt:
    return nodes.ExprStmt(_filtered(nodes.Const(amount), _SPENT, line), lineno=line)


# With the context as an argument, a filter is no constant that Jinja would fold while it compiles.
@pass_context
def _paid(_: Context, value: Any) -> Any:
    return current_budget().made(value)


@pass_context
def _spent(_: Context, amount: int) -> None:
    current_budget().spend(amount)


@pass_context
def _concatenated(context: Context, parts: tuple[Any, ...]) -> Any:
    join = markup_join if context.eval_ctx.autoescape else str_join
    return current_budget().made(join(current_budget().made(parts)))


@pass_context
def _sliced(_: Context, value: Any, start: Any, stop: Any, step: Any) -> Any:
    return current_budget().made(value[slice(start, stop, step)])


def _paying_test(test: Callable[..., Any]) -> Callable[..., Any]:
    """`select` and its like run a test on every item, maybe without ever giving one."""

    @functools.wraps(test)
    def paying(*args: Any, **kwargs: Any) -> Any:
        current_budget().spend(1)
        return test(*args, **kwargs)

    return paying


def _paying_filter(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    given_first = 1 if hasattr(function, "jinja_pass_arg") else 0

    @functools.wraps(function)
    def paying(*args: Any, **kwargs: Any) -> Any:
        budget = current_budget()
        budget.spend(1)
        check_filter(name, list(args[given_first:]), kwargs)
        return budget.made(function(*args, **kwargs))

    return paying
