"""The comparison that lets ties fall either way: it finds those that did, and lets nothing else pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from graphwright.ir import Graph, Op
from graphwright.ir.interpreter import Interpreter
from graphwright.passes import parse_passes, run_passes
from tests.backends.models import MODELS, decoder
from tests.backends.quantizing import Scheme, quantized
from tests.backends.running import Reference, continued
from tests.backends.ties import Turning, follow

STEPS = [(9, [9, 4]), (1, [1, 1]), (4, [1, 4]), (1, [1, 1])]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """A decoder of weights in 4 bits, activations in 8, in groups of 32, and a cache in 8."""
    file = tmp_path_factory.mktemp("tokens") / "tokens.npy"
    np.save(file, np.random.default_rng(1).integers(0, 48, (4, 24)))
    program = quantized(decoder(MODELS["llama"]), Scheme("i4", 32, 32))
    run_passes(program, parse_passes(f"quantize-cache{{bits=8, tokens={file}}}"))
    return program.graphs["prefill"]


def test_a_tie_that_went_the_other_way_is_found(graph: Graph) -> None:
    ids = np.random.default_rng(0).integers(0, 48, 10).tolist()
    interpreter = Turning(graph)
    (plain,) = interpreter.run_worlds([frozenset()], ids)
    assert plain.ties
    visible = 0
    for tie in plain.ties:
        (other,) = interpreter.run_worlds([frozenset({tie})], ids)
        logits = other.outputs["logits"][0].numpy()
        if plain.agreeing(logits) < len(ids):
            visible += 1
            assert follow(graph, ids, logits).turned == {tie}
    assert visible > len(plain.ties) / 2


class _Wrong(Interpreter):
    """Does an op otherwise."""

    def __init__(self, wrong: Op, change: Callable[[list[Tensor]], None], operands: bool) -> None:
        super().__init__()
        self.wrong, self.change, self.before = wrong, change, operands

    def run_op(self, op: Op, operands: Sequence[Tensor | None], bindings: Mapping[str, int]) -> list[Tensor]:
        if op is not self.wrong:
            return super().run_op(op, operands, bindings)
        first, *rest = operands
        assert first is not None
        first = first.clone()
        if self.before:
            self.change([first])
        results = super().run_op(op, [first, *rest], bindings)
        if not self.before:
            self.change(results)
        return results


def _slightly_large(results: list[Tensor]) -> None:
    """A scale that is 2^10 units in its last place too large."""
    results[0] *= 1 + 2.0**-13


def _tf32(operands: list[Tensor]) -> None:
    bits = operands[0].view(torch.int32)
    bits.add_(0x1000).bitwise_and_(~0x1FFF)


def _one_code(results: list[Tensor]) -> None:
    """One code of the first token of each step, which is not at a tie there."""
    place = (slice(None), *[0] * (results[0].dim() - 2), 3)
    results[0][place] += 1 if results[0].dtype is torch.int8 else results[0][:, 0].abs().amax() / 127


def _cut_off(operands: list[Tensor]) -> None:
    """Rounding towards zero instead of to nearest, where it makes the least difference: in numbers near to zero."""
    small = operands[0].abs() < operands[0].abs().amax() / 127
    operands[0][small] /= 2


FAULTS: dict[str, tuple[str, Callable[[list[Tensor]], None], bool]] = {
    "a weight's scale": ("linear", _slightly_large, False),
    "x in TF32": ("linear", _tf32, True),
    "a code of an activation": ("fake_quantize", _one_code, False),
    "a code of the cache": ("quantize_tensor", _one_code, False),
    "small numbers": ("fake_quantize", _cut_off, True),
}


@pytest.mark.parametrize("layer", ["layers.0", "layers.1"])
@pytest.mark.parametrize("fault", FAULTS)
def test_anything_else_fails(fault: str, layer: str, graph: Graph) -> None:
    name, change, before = FAULTS[fault]
    wrong = next(op for op in graph if op.name == name and op.location == layer)
    run = Reference(graph, 2, 16)
    run.interpreter = _Wrong(wrong, change, before)
    for ids, logits in continued(run, STEPS, 48):
        with pytest.raises(AssertionError, match="no tie explains it"):
            follow(graph, ids, logits)


def test_the_reference_needs_no_ties_for_itself(graph: Graph) -> None:
    for ids, logits in continued(Reference(graph, 2, 16), STEPS, 48):
        assert len(follow(graph, ids, logits).turned) <= 1
