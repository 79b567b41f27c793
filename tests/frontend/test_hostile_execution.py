"""Operators of an archive that take long on few bytes: refused before torch calls them."""

from __future__ import annotations

import operator
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from graphwright.frontend import CheckpointError, capture
from graphwright.frontend.archive import execution
from graphwright.frontend.archive.execution import MOST_PIECES, bounded_execution
from graphwright.frontend.archive.operators import require_operator
from graphwright.frontend.expression_text import ExpressionError

aten = torch.ops.aten


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.zfill.default", "torch.ops.aten.mul.left_t",
        "torch.ops.aten.save.default", "torch.ops.aten.pow.int", "torch.ops.aten.mul.int",
        "torch.ops.debugprims.load_tensor.default", "torch.ops.mkldnn.data_ptr.default",
        "torch.ops._c10d_functional.all_reduce.default", "torch.ops.prim.Print.default", "_operator.getitem",
    ],
)  # fmt: skip
def test_operators_without_tensors(target: str) -> None:
    with pytest.raises(ExpressionError):
        require_operator(target)


@pytest.mark.parametrize("target", ["sym_size.int", "_assert_scalar.default", "full.default", "item.default"])
def test_operators_that_torch_writes(target: str) -> None:
    require_operator(f"torch.ops.aten.{target}")


def run(build: Callable[[torch.fx.Graph, torch.fx.Node], Any], value: object) -> Any:
    """The result of a graph of one input, within the limits."""
    graph = torch.fx.Graph()
    graph.output(build(graph, graph.placeholder("x")))
    with bounded_execution():
        return torch.fx.Interpreter(torch.fx.GraphModule({}, graph)).run(value)


POWER, SHIFT = cast(Any, operator).pow, cast(Any, operator).lshift  # what they return is left open
WIDE = torch.zeros(1).expand(1, 1 << 40)


@pytest.mark.parametrize(
    ("target", "arguments", "value"),
    [
        (POWER, (8_000_000,), 3),
        (SHIFT, (1 << 40,), 3),
        (operator.mul, (1_500_000_000,), "a"),
        (operator.mul, (1_500_000_000,), [1]),
        (operator.add, (1,), 1 << 70),
        (aten.unbind.int, (1,), WIDE),
        (aten.split.Tensor, (2, 1), WIDE),
        (aten.chunk.default, (1 << 40, 1), WIDE),
        (aten.tensor_split.sections, (1 << 40,), torch.zeros(3)),
        (aten.combinations.default, (1 << 40,), torch.zeros(3)),
        (aten.diff.default, (1 << 40,), torch.zeros(3)),
        (aten.unbind.int, (), torch.zeros(MOST_PIECES + 1)),
    ],
)
def test_calls_that_hang(target: Any, arguments: tuple[Any, ...], value: object) -> None:
    with pytest.raises(ExpressionError):  # torch imports much when its interpreter fails for the first time
        run(lambda graph, x: graph.call_function(operator.neg, (x,)), "a")
    begin = time.process_time()
    with pytest.raises(ExpressionError):
        run(lambda graph, x: graph.call_function(target, (x, *arguments)), value)
    assert time.process_time() - begin < 1


def test_sizes_that_double() -> None:
    def square(graph: torch.fx.Graph, x: torch.fx.Node) -> torch.fx.Node:
        for _ in range(60):
            x = graph.call_function(operator.mul, (x, x))
        return x

    with pytest.raises(ExpressionError, match="computes a size of"):
        run(square, 3)


def test_calls_within_the_limits() -> None:
    pieces = run(lambda graph, x: graph.call_function(aten.unbind.int, (x,)), torch.arange(MOST_PIECES))
    assert len(pieces) == MOST_PIECES
    assert run(lambda graph, x: graph.call_function(POWER, (x, 2)), 3) == 9


class Apart(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second, _ = torch.relu_(x + 1).unbind(1)
        return first + second


def test_archives_are_run_within_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.export.save(torch.export.export(Apart(), (torch.zeros(2, 3),)), tmp_path / "m.pt2")
    capture(tmp_path / "m.pt2")
    monkeypatch.setattr(execution, "MOST_PIECES", 2)
    message = r"m\.pt2: cannot read this archive: aten\.unbind\.int makes 3 pieces, 2 at most are made$"
    with pytest.raises(CheckpointError, match=message):
        capture(tmp_path / "m.pt2")


def test_what_is_made_of_an_archive_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.export.save(torch.export.export(Apart(), (torch.zeros(2, 3),)), tmp_path / "m.pt2")
    monkeypatch.setattr(execution, "MOST_NODES", 20)
    message = r"m\.pt2: cannot read this archive: its operators become more than 20 simpler ones$"
    with pytest.raises(CheckpointError, match=message):
        capture(tmp_path / "m.pt2")
    assert torch.fx.Graph().placeholder("x").name == "x", "other graphs are made as ever"


def test_what_is_nested_is_run_within_the_limits() -> None:
    inner, outer = torch.fx.Graph(), torch.fx.Graph()
    inner.output((inner.call_function(POWER, (inner.placeholder("x"), 8_000_000)),))
    region: Any = torch.ops.higher_order.wrap_with_set_grad_enabled
    part = outer.get_attr("part")
    outer.output(outer.call_function(region, (False, part, outer.placeholder("x"))))
    module = torch.fx.GraphModule({"part": torch.fx.GraphModule({}, inner)}, outer)
    message = "pow takes constants up to 64"
    # the region leaves gradients off where it raises: within `no_grad`, as for archives, they are as before in the end
    with pytest.raises(ExpressionError, match=message), torch.no_grad(), bounded_execution():
        torch.fx.Interpreter(module).run(3)
