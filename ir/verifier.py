"""The verifier: checks every invariant of a graph. Cheap enough to run after each pass, so it is never switched off."""

from typing import NoReturn

from graphwright.ir.errors import IRTypeError, VerificationError
from graphwright.ir.graph import Graph, Op, Value
from graphwright.ir.program import Program


def verify(program: Program) -> None:
    """Raises `VerificationError` at the first broken invariant of a program, quoting the op and its printed line."""
    for graph in program.graphs.values():
        verify_graph(graph)
        for value in graph.weights:
            if value.weight is None or program.weights.get(value.weight.name) is not value.weight:
                raise VerificationError(f"graph '{graph.name}' uses weight '{value.name}', which the program lacks")
            if value.type != value.weight.type:
                raise VerificationError(
                    f"graph '{graph.name}' knows weight '{value.name}' as {value.type}, it is {value.weight.type}"
                )


def verify_graph(graph: Graph) -> None:
    """Order, use lists, operand counts and types of one graph."""
    known: set[Value] = {*graph.inputs, *graph.weights}
    count = 0
    for op in graph:
        count += 1
        if len(op.operands) != len(op.definition.operands) and not op.definition.variadic:
            _fail(graph, op, f"it has {len(op.operands)} operands, {len(op.definition.operands)} are declared")
        for i, value in enumerate(op.operands):
            if value is None:
                continue
            if value not in known:
                _fail(graph, op, f"operand {i} is not defined before it")
            if (op, i) not in value.uses:
                _fail(graph, op, f"operand {i} does not list this use")
        for index, value in enumerate(op.results):
            if value.owner is not op or value.index != index:
                _fail(graph, op, f"result {index} belongs to {value.owner} as result {value.index}")
            for user, i in value.uses:
                if user.erased or i >= len(user.operands) or user.operands[i] is not value:
                    _fail(graph, op, f"its result lists a use by {user} that is none")
        try:
            if op.definition.complete(op.attributes, op.location) != op.attributes:
                _fail(graph, op, "its attributes are not of their declared kinds")
            inferred = op.definition.infer_op(op)
        except IRTypeError as problem:
            _fail(graph, op, str(problem))
        if len(inferred) != len(op.results):
            _fail(graph, op, f"it has {len(op.results)} results, its declaration gives {len(inferred)}")
        for value, type in zip(op.results, inferred, strict=True):
            if value.type != type:
                _fail(graph, op, f"result {value.index} is recorded as {value.type}, its declaration gives {type}")
        known.update(op.results)
    if count != len(graph):
        raise VerificationError(f"graph '{graph.name}' counts {len(graph)} ops and holds {count}")
    for name, value in graph.outputs.items():
        if value not in known:
            raise VerificationError(f"graph '{graph.name}': output '{name}' is not defined in it")


def _fail(graph: Graph, op: Op, problem: str) -> NoReturn:
    from graphwright.ir.text.printer import op_line

    line, text = op_line(graph, op)
    raise VerificationError(f"graph '{graph.name}', line {line}: {problem}: {text}")
