"""Calibration: that it sees what layers read, and of how much it keeps hold meanwhile."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch

from graphwright.ir import Interpreter, Op, PassError, StoredArray, Value
from graphwright.passes.calibration import calibrate, calibration_sites, calibration_tokens, walk
from graphwright.passes.quantization.weights import replace_linear_weight
from tests.passes.calibration.models import tokens, wide_blocks


def everything(op: Op) -> bool:
    return True


def moments(program: Any, rows: torch.Tensor) -> list[torch.Tensor]:
    """The second moments of what each layer reads, of a run in one piece."""
    graph = program.graphs["forward"]
    wanted = [site.x for site in calibration_sites(graph, everything)]
    sizes = {"B": rows.shape[0], "S": rows.shape[1]}
    values = Interpreter().run_cone({graph.input("input_ids"): rows}, wanted, sizes)
    flat = [v.reshape(-1, v.shape[-1]).double() for v in values]
    return [v.T @ v for v in flat]


@pytest.mark.parametrize("at_once", [1, 30, 10_000])
def test_statistics_are_those_of_one_run(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "TOKENS_AT_ONCE", at_once)
    program, rows = wide_blocks(3, 8, 24), tokens(7, 9)
    found = list(calibrate(program, rows, everything))
    assert [site.ops[0].location for site, _ in found] == [
        *(f"block.{i}.{part}" for i in range(3) for part in ("up", "down")),
        "head",
    ]
    for (_, statistics), moment in zip(found, moments(program, rows), strict=True):
        assert statistics.count == 63
        # Sums of 63 products in float32 against the same in float64.
        torch.testing.assert_close(
            statistics.second_moment.double(), moment, rtol=0, atol=float(moment.diagonal().max()) * 64 * 2**-24
        )


def test_only_wanted_layers_are_stopped_at() -> None:
    program, rows = wide_blocks(3, 8, 24), tokens(7, 9)
    found = list(calibrate(program, rows, lambda op: op.location == "block.2.up"))
    ((site, statistics),) = found
    assert site.ops[0].location == "block.2.up"
    moment = moments(program, rows)[4]
    torch.testing.assert_close(statistics.second_moment.double(), moment, rtol=1e-4, atol=1e-4)


def test_what_is_replaced_at_a_stop_is_seen_behind_it() -> None:
    program, rows = wide_blocks(3, 8, 24), tokens(7, 9)
    for site, statistics in calibrate(program, rows, everything):
        (op,) = site.ops
        weight = op.required("weight").weight
        assert weight is not None
        changed = StoredArray.of(weight.evaluate().round(decimals=1))
        replace_linear_weight(program, weight, f"{weight.name}.changed", changed)
        # What the layer reads depends on the weights before it only, and they are as they will stay.
        expected = moments(program, rows)[[s.x for s in calibration_sites(site.graph, everything)].index(site.x)]
        torch.testing.assert_close(statistics.second_moment.double(), expected, rtol=1e-4, atol=1e-4)


class Counting(Interpreter):
    """Counts the bytes of the values that are alive, each buffer once."""

    alive: int = 0
    peak: int = 0

    def run_op(self, op: Op, operands: Sequence[torch.Tensor | None], bindings: Any) -> list[torch.Tensor]:
        results = super().run_op(op, operands, bindings)
        for result in results:
            size = result.untyped_storage().nbytes()
            Counting.alive += size
            weakref.finalize(result, Counting.gone, size)
        Counting.peak = max(Counting.peak, Counting.alive)
        return results

    @staticmethod
    def gone(size: int) -> None:
        Counting.alive -= size


def test_memory_is_one_narrow_cut_of_all_rows_and_one_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Live bytes, counted: the residual stream of all tokens, and for one batch what a block needs inside."""
    size, inner, rows, length, at_once = 16, 512, 64, 8, 32
    monkeypatch.setattr(walk, "Interpreter", Counting)
    monkeypatch.setattr(walk, "TOKENS_AT_ONCE", at_once)
    monkeypatch.setattr(Counting, "alive", 0)
    monkeypatch.setattr(Counting, "peak", 0)
    for _ in calibrate(wide_blocks(6, size, inner), tokens(rows, length), everything):
        pass
    stream = rows * length * size * 4
    # Of a batch: up, its sigmoid and their product together, and some values of the stream's size.
    batch = at_once * (3 * inner + 4 * size) * 4
    assert 0 < Counting.peak <= stream + batch
    # All rows' products of one layer would take more than four times as much.
    assert 4 * (stream + batch) < rows * length * inner * 4 + stream


def test_weights_do_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    class Kept(Interpreter):
        def run_cone(
            self, known: Mapping[Value, torch.Tensor], wanted: Sequence[Value], bindings: Mapping[str, int]
        ) -> list[torch.Tensor]:
            found = super().run_cone(known, wanted, bindings)
            read.append(len(self._weights))
            return found

    monkeypatch.setattr(walk, "Interpreter", Kept)
    layers = 12
    for _ in calibrate(wide_blocks(layers, 8, 24), tokens(4, 8), lambda op: op.location == "head"):
        pass
    # Two blocks of three weights are passed in one go at most, of twelve.
    assert max(read) <= 7


def test_too_few_tokens_say_how_many_are_needed() -> None:
    message = r"23 calibration tokens are too few: block\.0\.down reads vectors of 24 numbers, give at least as many"
    with pytest.raises(PassError, match=message):
        next(calibrate(wide_blocks(1, 8, 24), tokens(1, 23), everything))


def test_rows_longer_than_the_context_are_refused(tmp_path: Path) -> None:
    program = wide_blocks(1, 8, 24)
    program.metadata["context_length"] = 16
    path = tmp_path / "tokens.npy"
    numpy.save(path, tokens(2, 17).numpy())
    with pytest.raises(PassError, match=r"tokens\.npy: rows of 17 tokens, the model's context has 16: cut them"):
        calibration_tokens(program, str(path))
    numpy.save(path, tokens(2, 16).numpy() + 10)
    with pytest.raises(PassError, match=r"token \d+ is outside the vocabulary of 11"):
        calibration_tokens(program, str(path))
