"""Reads the small parts of the text format: names, attributes, dimensions and types."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from graphwright.ir.attributes import Attribute
from graphwright.ir.dims import Dim, parse_integer
from graphwright.ir.errors import IRTypeError
from graphwright.ir.text.lexer import Lexer, unquote
from graphwright.ir.types import CODE_TYPES, LAYOUTS, DType, QuantizedType, StateType, TensorType, Type

_DTYPES = {d.value: d for d in DType}


def parse_type(text: str) -> Type:
    """The type that `str` printed. Raises `TextError`."""
    parser = AtomParser(Lexer(text))
    result = parser.type()
    parser.end()
    return result


DEEPEST = 64
"""Lists in lists of an attribute, and ops on ops in the value of a weight. Models have some ten."""

LONGEST_NUMBER = 400
"""Characters of a number. Printed numbers have 24 at most, and 309 digits stand before the point of the largest."""


class AtomParser:
    """Reads one part after another off a lexer."""

    def __init__(self, lexer: Lexer) -> None:
        self.lexer = lexer
        self._depth = 0

    @contextmanager
    def nested(self) -> Generator[None]:
        """Around what may hold its like; refuses it too deep."""
        self._depth += 1
        if self._depth > DEEPEST:
            raise self.lexer.error(f"nested too deeply: more than {DEEPEST} levels")
        yield
        self._depth -= 1

    # -- names and attributes

    def end(self) -> None:
        if self.lexer.peek.kind != "end":
            raise self.lexer.error(f"expected the end, found {self.lexer.describe()}")

    def string(self) -> str:
        return unquote(self.lexer.expect_kind("string", "a quoted string"))

    def name(self) -> str:
        if self.lexer.peek.kind == "string":
            return self.string()
        return self.lexer.expect_kind("name", "a name")

    def value_name(self, sigil: str) -> str:
        token = self.lexer.peek
        if token.kind != "value" or token.text[0] != sigil:
            raise self.lexer.error(f"expected a {sigil}name, found {self.lexer.describe()}")
        self.lexer.next()
        return unquote(token.text[1:]) if token.text[1] == '"' else token.text[1:]

    def attributes_body(self) -> dict[str, Attribute]:
        attributes: dict[str, Attribute] = {}
        while not self.lexer.accept("}"):
            start = self.lexer.peek.start
            name = self.name()
            if name in attributes:
                raise self.lexer.error(f"attribute '{name}' is given twice", start)
            self.lexer.expect("=")
            attributes[name] = self.attribute()
            if self.lexer.peek.text != "}":
                self.lexer.expect(",")
        return attributes

    def attribute(self) -> Attribute:
        lexer = self.lexer
        token = lexer.peek
        if token.kind == "string":
            return self.string()
        if token.kind == "number":
            number = self.number(token.text)
            lexer.next()
            return number
        if token.text == "[":
            with self.nested():
                return tuple(self.list_body("[", "]"))
        if token.kind == "name" and token.text in ("true", "false", "none"):
            lexer.next()
            return {"true": True, "false": False, "none": None}[token.text]
        if token.kind == "name" and token.text in _DTYPES:
            lexer.next()
            return _DTYPES[token.text]
        dim = self.dim()
        return dim if dim.constant is None else dim.constant

    def number(self, text: str) -> float:
        if len(text) > LONGEST_NUMBER:
            raise self.lexer.error(f"a number has {len(text)} characters, at most {LONGEST_NUMBER} are supported")
        return float(text)

    def list_body(self, opening: str, closing: str) -> list[Attribute]:
        self.lexer.expect(opening)
        items: list[Attribute] = []
        if self.lexer.peek.kind == "numbers":
            items.extend(map(self.number, self.lexer.peek.text.split(", ")))
            self.lexer.next()
        while not self.lexer.accept(closing):
            items.append(self.attribute())
            if self.lexer.peek.text != closing:
                self.lexer.expect(",")
        return items

    def dim(self) -> Dim:
        start = self.lexer.peek.start
        try:
            return self._dim()
        except IRTypeError as problem:
            raise self.lexer.error(str(problem), start) from None

    def _dim(self) -> Dim:
        lexer = self.lexer
        negative = lexer.accept("-")
        total = self.term() * -1 if negative else self.term()
        while True:
            if lexer.accept("+"):
                total = total + self.term()
            elif lexer.accept("-"):
                total = total - self.term()
            else:
                return total

    def term(self) -> Dim:
        product = self.factor()
        while self.lexer.accept("*"):
            product = product * self.factor()
        return product

    def factor(self) -> Dim:
        token = self.lexer.peek
        if token.kind == "integer":
            self.lexer.next()
            return Dim.of(parse_integer(token.text))
        if token.kind == "name" and "." not in token.text:
            self.lexer.next()
            return Dim.of(token.text)
        raise self.lexer.error(f"expected a value, found {self.lexer.describe()}")

    # -- types

    def type(self) -> Type:
        lexer = self.lexer
        token = lexer.peek
        if token.text == "state":
            lexer.next()
            lexer.expect("<")
            start = lexer.peek.start
            layout = lexer.expect_kind("name", "a layout")
            if layout not in LAYOUTS:
                raise lexer.error(f"'{layout}' is not a layout: write {', '.join(LAYOUTS)}", start)
            inner = self.tensor_type()
            lexer.expect(">")
            return StateType(layout, inner)
        if token.kind == "name" and token.text[0] == "q" and (token.text[1:].isdecimal() or token.text[1:] in _DTYPES):
            return self.quantized_type()
        return self.tensor_type()

    def tensor_type(self) -> TensorType:
        start = self.lexer.peek.start
        name = self.lexer.expect_kind("name", "a type")
        if name not in _DTYPES:
            raise self.lexer.error(f"'{name}' is not an element type", start)
        return TensorType(_DTYPES[name], self.shape())

    def shape(self) -> tuple[Dim, ...]:
        self.lexer.expect("[")
        dims: list[Dim] = []
        while not self.lexer.accept("]"):
            dims.append(self.dim())
            if self.lexer.peek.text != "]":
                self.lexer.expect(",")
        return tuple(dims)

    def quantized_type(self) -> QuantizedType:
        lexer = self.lexer
        start = lexer.peek.start
        kind = lexer.next().text[1:]
        lexer.expect("<")
        group = self.group()
        lexer.expect(",")
        offset_start = lexer.peek.start
        offset = lexer.expect_kind("name", "sym, asym or min")
        if offset not in ("sym", "asym", "min"):
            raise lexer.error(f"expected sym, asym or min, found '{offset}'", offset_start)
        element = _DTYPES.get(kind if not kind.isdecimal() else f"{'i' if offset == 'sym' else 'u'}{kind}")
        if element not in CODE_TYPES:
            raise lexer.error(f"there are no codes of {kind}{' bits' if kind.isdecimal() else ''}", start)
        options: dict[str, Attribute] = {}
        options_start = start
        while lexer.accept(","):
            options_start = lexer.peek.start
            name = lexer.expect_kind("name", "scale, axis or tensor")
            options[name] = True if name == "tensor" else (lexer.expect("="), self.attribute())[1]
        lexer.expect(">")
        scale, axis, tensor = options.pop("scale", DType.F32), options.pop("axis", -1), options.pop("tensor", False)
        if options or not isinstance(scale, DType) or not isinstance(axis, int):
            raise lexer.error("a quantized type takes scale=DTYPE, axis=INTEGER and tensor", options_start)
        quantized = QuantizedType(element, self.shape(), group, scale, axis, bool(tensor), offset == "min")
        if quantized.symmetric and offset == "asym":
            raise lexer.error(f"codes of {element} are symmetric", offset_start)
        if quantized.problem is not None:
            raise lexer.error(quantized.problem, start)
        return quantized

    def group(self) -> int | None:
        start = self.lexer.peek.start
        text = self.lexer.expect_kind("name", "g and a group size, or channel")
        if text == "channel":
            return None
        if text[0] != "g" or not text[1:].isdecimal() or len(text) > 10 or int(text[1:]) < 1:
            raise self.lexer.error(f"'{text[:20]}' is not a group: write g128 or channel", start)
        return int(text[1:])
