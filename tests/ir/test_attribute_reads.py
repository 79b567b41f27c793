"""Attributes read with a type: the declaration must allow no other kinds, whatever the value at hand."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Any, Literal

import pytest

from graphwright.ir import Builder, Dim, DType, Graph, ops, tensor
from graphwright.ir.attributes import Scalar, is_of
from graphwright.ir.declare import REGISTRY
from graphwright.ir.weights import Applied

ROOT = Path(__file__).parents[2]
FOLDERS = ("ir", "passes", "backends/onnx")
KINDS = {"int": int, "float": float, "str": str, "bool": bool, "Dim": Dim, "DType": DType, "NoneType": NoneType}


def test_what_a_declaration_allows() -> None:
    assert is_of(int, (int,))
    assert is_of(tuple[Dim, ...], (tuple[Dim, ...],))
    assert is_of(Literal["a", "b"], (str,))
    assert is_of(Dim | None, (Dim, NoneType))
    assert is_of(Scalar, (bool, int, float))
    assert not is_of(int, (bool,))
    assert not is_of(Literal["a", 1], (str,))
    assert not is_of(Dim | None, (Dim,))
    assert not is_of(tuple[int, ...], (tuple[Dim, ...],))


def test_attributes_come_with_their_declared_kind() -> None:
    graph = Graph()
    x = graph.add_input("x", tensor("f32", "B", 4))
    op = Builder(graph).op(ops.softmax, x, axis=-1)
    assert op.attribute("axis", int) == -1
    with pytest.raises(AssertionError, match="softmax declares axis as <class 'int'>, it is read as"):
        op.attribute("axis", float)
    with pytest.raises(AssertionError, match="softmax has no attribute axes"):
        op.attribute("axes", int)
    count = Applied.of(ops.iota, (), {"size": 3, "dtype": DType.I64})
    assert count.attribute("size", Dim) == 3


def reads() -> Iterator[tuple[str, str, tuple[Any, ...]]]:
    """Place, name and kinds of each typed read whose name and kinds are spelt out."""
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                    continue
                if node.func.attr != "attribute" or len(node.args) < 2 or not isinstance(node.args[0], ast.Constant):
                    continue
                kinds = tuple(eval(ast.unparse(kind), {"tuple": tuple}, KINDS) for kind in node.args[1:])
                yield f"{file.relative_to(ROOT)}:{node.lineno}", str(node.args[0].value), kinds


def test_every_read_is_of_a_kind_that_some_op_declares() -> None:
    """A read of an attribute, or a kind, that no op declares would fail only where it runs."""
    found = list(reads())
    assert len(found) > 80
    for place, name, kinds in found:
        if ".".join(place.split("/")[:2]) == "ir.rewriting" or "match.attribute" in _line(place):
            continue  # named by the pattern
        declared = [d.attributes[name].kind for d in REGISTRY.values() if name in d.attributes]
        assert any(is_of(kind, kinds) for kind in declared), f"{place}: no op declares {name} as {kinds}"


def _line(place: str) -> str:
    file, _, number = place.rpartition(":")
    return (ROOT / file).read_text(encoding="utf-8").splitlines()[int(number) - 1]


def test_attributes_are_not_asserted_where_they_are_read() -> None:
    """A value out of `attributes[...]` whose type the next line asserts is to be read with `attribute`."""
    for folder in FOLDERS:
        for file in sorted((ROOT / folder).rglob("*.py")):
            lines = file.read_text(encoding="utf-8").splitlines()
            for before, line in pairwise(lines):
                assert not (".attributes[" in before and "assert isinstance" in line), f"{file}: {before.strip()}"
