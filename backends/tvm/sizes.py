"""Sizes, to and fro: dimensions of the IR as TVM's expressions, and what TVM made of them as dimensions again."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from graphwright.backends.plan import Definition, defined
from graphwright.backends.plan.plan import DefinitionKind
from graphwright.backends.tvm.tvm_library import tirx, tvm
from graphwright.ir.dims import Dim
from graphwright.ir.errors import UnsupportedError


class Sizes:
    """The sizes of one graph. `definitions` are those of its plan, added to as `dimension` meets them."""

    def __init__(self) -> None:
        self.variables: dict[str, Any] = {}
        self.definitions: dict[str, Definition] = {}

    def variable(self, symbol: str) -> Any:
        """The variable of a symbol."""
        if symbol not in self.variables:
            self.variables[symbol] = tirx.Var(symbol, "int64")
        return self.variables[symbol]

    def expression(self, dim: Dim) -> Any:
        """A size as a number or an expression over the symbols' variables; definitions are spelt out."""
        if dim.constant is not None:
            return tirx.IntImm("int64", dim.constant)
        total: Any = tirx.IntImm("int64", 0)
        for monomial, coefficient in dim.terms:
            product: Any = tirx.IntImm("int64", coefficient)
            for symbol in monomial:
                # TVM folds a product with one, and a sum with nothing.
                product = self._atom(symbol) * product
            total = product + total
        return total

    def shape(self, dims: Iterable[Dim]) -> list[Any]:
        return [self.expression(d) for d in dims]

    def dimension(self, expression: Any, values: Mapping[int, Dim]) -> Dim:
        """The size that an expression is; `values` are those of other variables than the symbols', by their hash.

        Raises `UnsupportedError` for an expression that depends on more than sizes.
        """
        if isinstance(expression, int):
            return Dim.of(expression)
        if isinstance(expression, tirx.IntImm):
            return Dim.of(int(expression.value))
        if isinstance(expression, tvm.ir.Var):
            return self._known(expression, values)
        if isinstance(expression, tirx.Cast):
            return self.dimension(expression.value, values)
        combine = _COMBINED.get(type(expression))
        if combine is None:
            raise UnsupportedError(f"{expression} is not a size")
        first, second = (self.dimension(part, values) for part in (expression.a, expression.b))
        return combine(self, first, second)

    def defined(self, kind: DefinitionKind, first: Dim, second: Dim) -> Dim:
        """The size that the definition has, made if there is none."""
        return defined(self.definitions, kind, first, second)

    def _atom(self, symbol: str) -> Any:
        definition = self.definitions.get(symbol)
        if definition is None:
            return self.variable(symbol)
        make: Callable[..., Any] = {"floordiv": tirx.floordiv, "min": tirx.min, "max": tirx.max}[definition.kind]
        return make(self.expression(definition.first), self.expression(definition.second))

    def _known(self, variable: Any, values: Mapping[int, Dim]) -> Dim:
        found = values.get(hash(variable))
        if found is not None:
            return found
        for symbol, known in self.variables.items():
            if known.same_as(variable):
                return Dim.of(symbol)
        raise UnsupportedError(f"{variable} is not a size")


def _quotient(sizes: Sizes, first: Dim, second: Dim) -> Dim:
    exact = first.exact_div(second)
    return sizes.defined("floordiv", first, second) if exact is None else exact


_COMBINED: dict[Any, Callable[[Sizes, Dim, Dim], Dim]] = {
    tirx.Add: lambda sizes, first, second: first + second,
    tirx.Sub: lambda sizes, first, second: first - second,
    tirx.Mul: lambda sizes, first, second: first * second,
    tirx.FloorDiv: _quotient,
    tirx.Div: _quotient,  # of sizes, which are not negative
    tirx.FloorMod: lambda sizes, first, second: first - _quotient(sizes, first, second) * second,
    tirx.Min: lambda sizes, first, second: sizes.defined("min", first, second),
    tirx.Max: lambda sizes, first, second: sizes.defined("max", first, second),
}
