"""Helpers of the pass tests: run passes on IR text, compare values before and after by the reference interpreter."""

from __future__ import annotations

import torch

from graphwright.ir import DType, Graph, Interpreter, Program, parse_program, print_graph
from graphwright.ir.rewriting import NearMiss
from graphwright.ir.torch_types import torch_dtype
from graphwright.passes import Pass, run_passes
from tests.tensors import listed


def program(body: str, weights: str = "") -> Program:
    """A program with one graph `forward`, given its text from the parameter list on."""
    return parse_program(f'program "test"\n{weights}\ngraph forward{body}\n')


def random_weight(name: str, *shape: int, seed: int = 0) -> str:
    """Text of a weight with random values of size about 1, in steps of 1/64 so that small sums of them are exact."""
    generator = torch.Generator().manual_seed(seed + sum(map(ord, name)))
    values = ", ".join(str(v) for v in listed((torch.randn(shape, generator=generator) * 64).round().div(64).flatten()))
    type = f"f32[{', '.join(map(str, shape))}]"
    return f"weight @{name} : {type} = data([{values}]) : {type}\n"


def applied(before: Program, *passes: Pass) -> tuple[str, list[NearMiss]]:
    """The text of the graph `forward` after the passes (`before` is left alone), and their near misses."""
    after = before.clone()
    report = run_passes(after, passes)
    assert_same_values(before.graphs["forward"], after.graphs["forward"])
    return print_graph(after.graphs["forward"]), [m for r in report.records for m in r.near_misses]


def assert_same_values(before: Graph, after: Graph) -> None:
    """Both graphs give the same outputs in float64 on random inputs, for several sizes of each symbol."""
    for sizes in ({"B": 2, "S": 7}, {"B": 1, "S": 1}, {"B": 3, "S": 19}):
        inputs = random_inputs(before, sizes)
        expected = Interpreter("float64").run(before, inputs)
        found = Interpreter("float64").run(after, inputs)
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            # two float64 evaluations of one formula in different order; folded constants are float32 numbers
            torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9)


def random_inputs(graph: Graph, sizes: dict[str, int]) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs: dict[str, torch.Tensor] = {}
    for value in graph.inputs:
        assert value.name is not None
        shape = [d.evaluate(sizes) for d in value.type.shape]
        dtype = value.tensor.dtype
        if dtype is DType.I64:
            inputs[value.name] = torch.randint(0, 4, shape, generator=generator)
        elif dtype is DType.BOOL:
            inputs[value.name] = torch.rand(shape, generator=generator) < 0.5
        else:
            inputs[value.name] = torch.randn(shape, generator=generator).to(torch_dtype(dtype))
    return inputs


def body(text: str) -> list[str]:
    """The names of the ops of a printed graph, in order, constants left out."""
    names = [line.split(" = ")[1].split("(")[0] for line in text.splitlines() if " = " in line]
    return [name for name in names if name != "constant"]
