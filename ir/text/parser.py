"""Reads programs: weights, graphs and ops. Errors name the file, line and column and what was expected there."""

import difflib
from pathlib import Path
from typing import Any, cast

from graphwright.ir.attributes import Attribute
from graphwright.ir.declare import REGISTRY, OpDef
from graphwright.ir.dims import product
from graphwright.ir.errors import IRTypeError, UserError, WeightError
from graphwright.ir.files import TEXT, read_text
from graphwright.ir.graph import Graph, Value
from graphwright.ir.lazy import torch
from graphwright.ir.program import Program
from graphwright.ir.tensor_files import FileIdentity
from graphwright.ir.text.atoms import AtomParser
from graphwright.ir.text.lexer import Lexer
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType, TensorType
from graphwright.ir.verifier import verify
from graphwright.ir.weights import Applied, StoredArray, StoredFile, WeightExpression


def parse_program(text: str, file: str = "<text>", folder: Path | None = None) -> Program:
    """The program that the text states, verified. Raises `TextError` with line and column.

    Paths of weight files in it are relative to `folder`, by default to the working directory.
    """
    return _parse(Lexer(text, file), folder)


def read_program(path: str | Path, folder: Path | None = None) -> Program:
    """The program in a `.gw` file; paths of weight files in it are relative to `folder`, by default the file's own."""
    path = Path(path)
    try:
        text = read_text(path, TEXT, pipes=True)
    except OSError as problem:
        raise UserError(f"{path}: cannot be read ({problem.strerror})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: not a text file") from None
    return _parse(Lexer(text, str(path)), folder or path.parent)


def _parse(lexer: Lexer, folder: Path | None = None) -> Program:
    try:
        return _Parser(lexer, folder).program()
    except IRTypeError as problem:  # of a size that is made of others, in a type or in the verifier
        raise lexer.error(str(problem)) from None
    except RecursionError:
        raise lexer.error("nested too deeply") from None


class _Parser(AtomParser):
    def __init__(self, lexer: Lexer, folder: Path | None = None) -> None:
        super().__init__(lexer)
        self.folder = folder
        self.identities: dict[str, FileIdentity | None] = {}

    def identity(self, path: str) -> FileIdentity | None:
        """What a file of weights is now, so that no other is taken for it later; None if it is not there."""
        if path not in self.identities:
            try:
                self.identities[path] = FileIdentity.of(path)
            except WeightError:
                self.identities[path] = None
        return self.identities[path]

    # -- program

    def program(self) -> Program:
        lexer = self.lexer
        lexer.expect("program")
        program = Program(self.string())
        if lexer.accept("{"):
            program.metadata = self.attributes_body()
        while lexer.peek.kind != "end":
            start = lexer.peek.start
            if lexer.accept("weight"):
                self.weight(program)
            elif lexer.accept("graph"):
                graph = self.graph(program)
                if graph.name in program.graphs:
                    raise lexer.error(f"there are two graphs named '{graph.name}'", start)
                program.add_graph(graph)
            else:
                raise lexer.error(f"expected 'weight' or 'graph', found {lexer.describe()}")
        verify(program)
        return program

    def weight(self, program: Program) -> None:
        start = self.lexer.peek.start
        name = self.value_name("@")
        self.lexer.expect(":")
        declared = self.type()
        self.lexer.expect("=")
        expression = self.expression()
        if expression.type != declared:
            raise self.lexer.error(f"weight '{name}' is declared {declared}, its value is {expression.type}", start)
        if name in program.weights:
            raise self.lexer.error(f"there are two weights named '{name}'", start)
        program.add_weight(name, expression)

    def expression(self) -> WeightExpression:
        lexer = self.lexer
        start = lexer.peek.start
        name = lexer.expect_kind("name", "file, data or an op")
        lexer.expect("(")
        if name == "file":
            path = self.string()
            lexer.expect(",")
            key = self.string()
            lexer.expect(")")
            lexer.expect(":")
            resolved = path if self.folder is None or Path(path).is_absolute() else str(self.folder / path)
            return StoredFile(resolved, key, self.tensor_type(), self.identity(resolved))
        if name == "data":
            values = self.list_body("[", "]")
            lexer.expect(")")
            lexer.expect(":")
            type = self.tensor_type()
            array = _stored(values, type)
            if array is None:
                raise lexer.error(f"{len(values)} values do not make a {type}", start)
            return array
        definition = self.definition(name, start)
        operands: list[WeightExpression | None] = []
        while not lexer.accept(")"):
            with self.nested():
                operands.append(None if lexer.accept("none") else self.expression())
            if lexer.peek.text != ")":
                lexer.expect(",")
        attributes = self.attributes_body() if lexer.accept("{") else {}
        try:
            return Applied.of(definition, tuple(operands), attributes)
        except IRTypeError as problem:
            raise lexer.error(str(problem), start) from None

    # -- graph

    def graph(self, program: Program) -> Graph:
        lexer = self.lexer
        graph = Graph(self.name())
        values: dict[str, Value] = {}
        lexer.expect("(")
        while not lexer.accept(")"):
            start = lexer.peek.start
            name = self.value_name("%")
            if name in values:
                raise lexer.error(f"there are two inputs named '%{name}'", start)
            lexer.expect(":")
            values[name] = graph.add_input(name, self.type())
            if lexer.peek.text != ")":
                lexer.expect(",")
        lexer.expect("{")
        while not lexer.accept("return"):
            self.op(program, graph, values)
        while not lexer.accept("}"):
            start = lexer.peek.start
            name = self.name()
            if name in graph.outputs:
                raise lexer.error(f"there are two outputs named '{name}'", start)
            lexer.expect("=")
            graph.outputs[name] = self.operand(program, graph, values)
            if lexer.peek.text != "}":
                lexer.expect(",")
        return graph

    def op(self, program: Program, graph: Graph, values: dict[str, Value]) -> None:
        lexer = self.lexer
        names: list[tuple[str, int]] = []
        while True:
            start = lexer.peek.start
            name = self.value_name("%")
            if name in values or name in (n for n, _ in names):
                raise lexer.error(f"'%{name}' is defined twice", start)
            names.append((name, start))
            if not lexer.accept(","):
                break
        lexer.expect("=")
        start = lexer.peek.start
        definition = self.definition(lexer.expect_kind("name", "an op"), start)
        operands = self.operands(definition, program, graph, values)
        attributes = self.attributes_body() if lexer.accept("{") else {}
        lexer.expect(":")
        declared = [self.type()]
        while lexer.accept(","):
            declared.append(self.type())
        location = self.name() if lexer.accept("at") else ""
        try:
            op = graph.insert(definition, operands, attributes, location=location)
        except IRTypeError as problem:
            raise lexer.error(str(problem), start) from None
        inferred = [v.type for v in op.results]
        if inferred != declared:
            written, right = (", ".join(map(str, types)) for types in (declared, inferred))
            raise lexer.error(f"{definition.name} gives {right}, the text says {written}", start)
        if len(names) != len(op.results):
            raise lexer.error(f"{definition.name} has {len(op.results)} results, {len(names)} are named", names[0][1])
        values.update((name, value) for (name, _), value in zip(names, op.results, strict=True))

    def operands(
        self, definition: OpDef, program: Program, graph: Graph, values: dict[str, Value]
    ) -> list[Value | None]:
        lexer = self.lexer
        lexer.expect("(")
        operands: list[Value | None] = []
        while not lexer.accept(")"):
            if lexer.peek.kind == "name":
                start = lexer.peek.start
                name = lexer.next().text
                index = next((i for i, o in enumerate(definition.operands) if o.name == name), None)
                if index is None or index < len(operands):
                    raise lexer.error(f"{definition.name} takes no operand '{name}' here", start)
                lexer.expect("=")
                operands += [None] * (index - len(operands))
            operands.append(self.operand(program, graph, values))
            if lexer.peek.text != ")":
                lexer.expect(",")
        return operands

    def operand(self, program: Program, graph: Graph, values: dict[str, Value]) -> Value:
        start = self.lexer.peek.start
        if self.lexer.peek.text.startswith("@"):
            name = self.value_name("@")
            if name not in program.weights:
                raise self.lexer.error(f"there is no weight '@{name}'", start)
            return graph.weight(program.weights[name])
        name = self.value_name("%")
        if name not in values:
            raise self.lexer.error(f"'%{name}' is not defined before this line", start)
        return values[name]

    def definition(self, name: str, start: int) -> OpDef:
        if name not in REGISTRY:
            near = difflib.get_close_matches(name, REGISTRY, 1)
            hint = f": did you mean '{near[0]}'?" if near else ""
            raise self.lexer.error(f"there is no op '{name}'{hint}", start)
        return REGISTRY[name]


def _stored(values: list[Attribute], type: TensorType) -> StoredArray | None:
    """The array with these elements; None if they are too few or many, or no such numbers."""
    kinds = (float, int) if type.dtype.is_float else (bool,) if type.dtype is DType.BOOL else (int,)
    shape = [d.constant for d in type.shape if d.constant is not None]
    fits = product(type.shape).constant == len(values) and all(v.__class__ in kinds for v in values)
    if not fits or len(shape) != type.rank or type.dtype is DType.F4E2M1:
        return None
    try:
        return StoredArray(torch.tensor(values, dtype=torch_dtype(type.dtype)).reshape(shape), type)
    except ModuleNotFoundError:
        # Where torch is not installed a program can still be listed: who asks for an element is told what is missing.
        return StoredArray(cast(Any, torch), type)
    except (RuntimeError, OverflowError, WeightError):
        return None
