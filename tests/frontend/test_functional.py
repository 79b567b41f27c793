"""In-place operators and operators without an importer: replaced where they stand, or left to torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from graphwright.frontend import capture, export
from graphwright.ir import UnsupportedError, run
from graphwright.ir.location import at_source
from tests.frontend.compare import Small, tokens

Function = Callable[[Small, Tensor, Tensor], Tensor]


def _part_and_whole(m: Small, x: Tensor, i: Tensor) -> Tensor:
    y = x * 2
    part = y[..., 2:6]
    part[..., 1:3] = 7
    part.add_(1)
    return y + F.pad(part, (0, 4))


def _row_of_rows(m: Small, x: Tensor, i: Tensor) -> Tensor:
    y = (x * 2).view(*x.shape[:2], 2, 4)
    row = y[:, :, 1]
    row[..., 0].mul_(3)
    row.add_(y[:, :, 0])
    return y.flatten(2) + F.pad(row, (4, 0))


def _filled_in_parts(m: Small, x: Tensor, i: Tensor) -> Tensor:
    y = x.new_empty(*x.shape[:2], 12)
    y[..., :4] = x[..., 4:]
    y[..., 4:] = x
    return y


def _read_before(m: Small, x: Tensor, i: Tensor) -> Tensor:
    y = x + 1
    before = y.transpose(1, 2).sum(1)
    y.mul_(3)
    return y + before[..., None]


def _reads_what_it_writes(m: Small, x: Tensor, i: Tensor) -> Tensor:
    y = x + 1
    y[..., :4] = y[..., 4:] * y[..., :4]
    return y


def _chosen(m: Small, x: Tensor, i: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y.scatter_(2, x.argmax(-1, keepdim=True), 5)
    y[:, :, 3] += x[:, :, 0]
    return y.masked_fill_(i[..., None] > 99, 2)


def _written_through_the_same(m: Small, x: Tensor, i: Tensor) -> Tensor:
    y = x + 1
    same = y.contiguous()
    same.mul_(3)
    return y


IN_PLACE: dict[str, Function] = {
    "one after another": lambda m, x, i: (x * 1).add_(1).mul_(x).clamp_(min=0),
    "a part and the whole": _part_and_whole,
    "filled in parts": _filled_in_parts,
    "read before": _read_before,
    "reads what it writes": _reads_what_it_writes,
    "chosen places": _chosen,
    "written through another name": _written_through_the_same,
    "a row of rows": _row_of_rows,
    "softplus": lambda m, x, i: F.softplus(x),
    "relu6": lambda m, x, i: F.relu6(3 * x),
}


def _view_read_later(m: Small, x: Tensor, i: Tensor) -> Tensor:
    y = x + 1
    view = y.transpose(1, 2)
    y.mul_(3)
    return view.transpose(1, 2) + y


def _part_read_later(m: Small, x: Tensor, i: Tensor) -> Tensor:
    y = x + 1
    part = y[..., :4]
    y[..., 2:] = 0
    return y + F.pad(part, (0, 4))


def _written_through_a_view(m: Small, x: Tensor, i: Tensor) -> Tensor:
    y = x + 1
    y.transpose(1, 2).mul_(x.transpose(1, 2))
    return y


def _another_type(m: Small, x: Tensor, i: Tensor) -> Tensor:
    y = x.double()
    z = x.half()
    return z.add_(y).float() + y


BY_TORCH: dict[str, Function] = {
    "a view is read later": _view_read_later,
    "a part is read later": _part_read_later,
    "written through a view": _written_through_a_view,
    "another element type": _another_type,
}


@pytest.fixture
def traced_again(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The calls in which torch traces a program once more."""
    calls: list[object] = []
    original = export.decomposed

    def decomposed(exported: torch.export.ExportedProgram, table: dict[object, Callable[..., object]]) -> object:
        calls.append(table)
        return original(exported, table)

    monkeypatch.setattr(export, "decomposed", decomposed)
    return calls


def _equals_eager(function: Function) -> None:
    module = Small(function)
    program = capture(module, function=True)
    for shape in ((1, 1), (3, 7)):
        ids = tokens(*shape)
        (found,) = run(program.graphs["forward"], {"input_ids": ids}).values()
        with torch.no_grad():
            torch.testing.assert_close(found, module(ids))


@pytest.mark.parametrize("name", IN_PLACE)
def test_replaced_where_it_stands(name: str, traced_again: list[object]) -> None:
    _equals_eager(IN_PLACE[name])
    assert traced_again == []


@pytest.mark.parametrize("name", BY_TORCH)
def test_left_to_torch(name: str, traced_again: list[object]) -> None:
    _equals_eager(BY_TORCH[name])
    assert len(traced_again) == 1


def _weight_changed(m: Small, x: Tensor, i: Tensor) -> Tensor:
    m.lower.add_(1)
    return x + m.lower[0, 0]


def _part_of_weight_changed(m: Small, x: Tensor, i: Tensor) -> Tensor:
    m.lower[:, 0] = 3
    return x + m.lower[0, 0]


@pytest.mark.parametrize("function", [_weight_changed, _part_of_weight_changed])
def test_a_change_of_a_weight_is_refused(function: Function) -> None:
    with pytest.raises(UnsupportedError, match="'lower' is changed by forward"):
        capture(Small(function))


def test_lines_of_the_code_are_kept() -> None:
    def lines(function: Function) -> set[str]:
        return {at_source(op.location) for op in capture(Small(function), function=True).graphs["forward"]}

    assert lines(lambda m, x, i: F.softplus(x)) == lines(lambda m, x, i: x.exp()) != {""}
