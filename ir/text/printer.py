"""Prints programs. What it prints, the parser reads back to the same text, bit for bit.

program "tiny" {context_length=128}

weight @head : f32[8, 4] = file("model.safetensors", "head") : f32[8, 4]

graph forward(%ids: i64[B, S]) {
  %0 = embedding(@table, %ids) : f32[B, S, 4]  at model.embed
  return logits=%0
}
"""

import re
from collections.abc import Mapping
from itertools import count, zip_longest

from graphwright.ir.attributes import Attribute, attribute_text, same
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.program import Program
from graphwright.ir.weights import expression_text

PLAIN_NAME = re.compile(r"(?!(?:inf|nan)\Z)[A-Za-z_][\w.]*\Z")


def name_text(name: str) -> str:
    """A name as text: bare where it can be, quoted otherwise."""
    return name if PLAIN_NAME.match(name) else attribute_text(name)


def print_program(program: Program) -> str:
    head = f"program {attribute_text(program.name)}{_attributes(program.metadata)}\n"
    weights = "".join(
        f"weight @{name_text(w.name)} : {w.type} = {expression_text(w.expression)}\n" for w in program.weights.values()
    )
    graphs = [print_graph(graph) for graph in program.graphs.values()]
    return "\n".join([head, *([weights] if weights else []), *graphs])


def print_graph(graph: Graph) -> str:
    lines, _ = _graph_lines(graph)
    return "\n".join(lines) + "\n"


def op_line(graph: Graph, wanted: Op) -> tuple[int, str]:
    """The number of an op's line in the printed graph (the first line is 1), and the line."""
    lines, numbers = _graph_lines(graph)
    number = numbers[wanted]
    return number, lines[number - 1].strip()


def value_names(graph: Graph) -> dict[Value, str]:
    """How text calls each value of a graph: inputs `%ids`, weights `@head`, results `%12`."""
    names: dict[Value, str] = {}
    for value in graph.inputs:
        names[value] = f"%{name_text(value.name or '')}"
    for value in graph.weights:
        names[value] = f"@{name_text(value.name or '')}"
    taken = {value.name for value in graph.inputs}
    numbered = (f"%{i}" for i in count() if str(i) not in taken)
    for op in graph:
        for value in op.results:
            names[value] = next(numbered)
    return names


def _graph_lines(graph: Graph) -> tuple[list[str], dict[Op, int]]:
    names = value_names(graph)
    inputs = ", ".join(f"{names[v]}: {v.type}" for v in graph.inputs)
    lines = [f"graph {name_text(graph.name)}({inputs}) {{"]
    numbers: dict[Op, int] = {}
    for op in graph:
        lines.append(f"  {op_text(op, names)}")
        numbers[op] = len(lines)
    returned = ", ".join(f"{name_text(n)}={names.get(v, '<undefined>')}" for n, v in graph.outputs.items())
    lines += [f"  return {returned}".rstrip(), "}"]
    return lines, numbers


def op_text(op: Op, names: Mapping[Value, str]) -> str:
    """The op as a line of its graph; `names` are those of `value_names`."""
    results = ", ".join(names[v] for v in op.results)
    parts: list[str] = []
    declared = () if op.definition.variadic else op.definition.operands
    for operand, value in zip_longest(declared, op.operands):
        if value is not None:
            prefix = f"{operand.name}=" if operand is not None and operand.optional else ""
            parts.append(prefix + names.get(value, "<undefined>"))
    types = ", ".join(str(v.type) for v in op.results)
    location = f"  at {name_text(op.location)}" if op.location else ""
    shown = {k: v for k, v in op.attributes.items() if not _is_default(op, k)}
    return f"{results} = {op.name}({', '.join(parts)}){_attributes(shown)} : {types}{location}"


def _is_default(op: Op, name: str) -> bool:
    # A broken op is printed too, in the verifier's message.
    spec = op.definition.attributes.get(name)
    return spec is not None and not spec.required and same(spec.default, op.attributes[name])


def _attributes(attributes: Mapping[str, Attribute]) -> str:
    if not attributes:
        return ""
    return " {" + ", ".join(f"{name_text(k)}={attribute_text(v)}" for k, v in attributes.items()) + "}"
