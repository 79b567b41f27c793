"""Experts over stored weights, floats and codes: every routing, every CPU, and a row that does not depend on others."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from graphwright.backends.tvm.cpu import AVX2, GENERIC, Cpu, host_cpu
from graphwright.backends.tvm.kernels.expert_form import ExpertForm
from graphwright.backends.tvm.kernels.experts import experts
from graphwright.backends.tvm.library.layouts import PANELS
from graphwright.ir import ops
from graphwright.ir.dialects.cpu.packed_weights import packed_parts
from graphwright.ir.types import DType
from graphwright.ir.weights import Applied, StoredArray
from tests.backends.running import ROUNDOFF, SLACK
from tests.backends.tvm.kernels.standalone import compiled, run, written

CPUS = {"generic": GENERIC, "avx2": AVX2, "host": host_cpu()}
GPT_OSS = ExpertForm(6, 72, 48, 80, 2, True, "silu", 1.702, 2.0, 1.0, (True, True))
PLAIN = ExpertForm(5, 40, 32, 16, 3, False, "relu", 1.0, float("inf"), 0.0, (True, False))
SWIGLU = ExpertForm(9, 96, 32, 96, 4, True, "silu", 1.0, float("inf"), 0.0, (False, False))
FLOATS = {"float32": torch.float32, "float16": torch.float16}


@dataclass(frozen=True)
class Weights:
    """How experts are stored: a float type, or codes in groups of some columns."""

    element: str = "float32"
    group: int = 0

    @property
    def of_codes(self) -> bool:
        return self.element not in FLOATS

    def stored(self, numbers: Tensor) -> Any:
        if not self.of_codes:
            return StoredArray.of(numbers.to(FLOATS[self.element]))
        return Applied.of(
            ops.round_to_nearest, (StoredArray.of(numbers),), {"to": DType(self.element), "group": self.group}
        )


class Mixture:
    """Experts of a form with random weights, as a kernel for a number of tokens computes them, and exactly."""

    def __init__(self, cpu: Cpu, form: ExpertForm, weights: Weights) -> None:
        generator = torch.Generator().manual_seed(form.size)
        self.cpu, self.form = cpu, form

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator)

        shapes = (form.experts, form.height, form.size), (form.experts, form.outer, form.inner)
        self.stacks = [weights.stored(normal(*shape) / shape[-1] ** 0.5) for shape in shapes]
        self.biases = [normal(*s[:2]) if there else None for s, there in zip(shapes, form.biases, strict=True)]
        if weights.of_codes:
            parts = [packed_parts(stack) for stack in self.stacks]
            self.weights: Any = tuple(each.layout for each in parts)
            self.arrays = [array.evaluate() for each in parts for array in each.arrays.values()]
        else:
            self.weights = weights.element
            self.arrays = [PANELS.pack(stack)["packed"].evaluate() for stack in self.stacks]
        self.kernel = "experts_by_codes" if weights.of_codes else "experts"

    @cache  # noqa: B019 - a test ends before memory does
    def function(self, tokens: int | None) -> Any:
        kernel = written(self.kernel, experts, self.cpu, tokens=tokens, form=self.form, weights=self.weights)
        return compiled(kernel, self.cpu)

    def run(self, tokens: int | None, x: Tensor, indices: Tensor, shares: Tensor) -> Tensor:
        function = self.function(tokens)
        y = np.full((len(x), self.form.outer), np.nan, np.float32)
        arrays = [x, indices, shares, *self.arrays, *(bias for bias in self.biases if bias is not None)]
        return torch.as_tensor(run(function, *(array.numpy() for array in arrays), y)[-1])

    def exact(self, x: Tensor, indices: Tensor, shares: Tensor) -> Tensor:
        stacks = [
            v.dequantize(torch.float64) if hasattr(v, "dequantize") and not isinstance(v, Tensor) else v.double()
            for v in (stack.evaluate() for stack in self.stacks)
        ]
        biases = [None if bias is None else bias.double() for bias in self.biases]
        names = ("gated", "kind", "alpha", "limit", "up_offset")
        attributes = {name: getattr(self.form, name) for name in names}
        return ops.moe_experts.evaluate([x.double(), indices, shares.double(), *stacks, *biases], attributes)


def tokens(form: ExpertForm, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens, different experts for each, and shares."""
    generator = torch.Generator().manual_seed(7)
    x = torch.randn(count, form.size, generator=generator)
    indices = torch.rand(count, form.experts, generator=generator).argsort(-1)[:, : form.chosen].contiguous()
    return x, indices, torch.randn(count, form.chosen, generator=generator)


def check(mixture: Mixture, known: int | None, *counts: int) -> None:
    for count in counts:
        given = tokens(mixture.form, count)
        found, wanted = mixture.run(known, *given), mixture.exact(*given)
        assert float((found - wanted).abs().max()) <= SLACK * ROUNDOFF * float(wanted.abs().max()), count


@pytest.mark.parametrize("name", CPUS)
def test_floats(name: str) -> None:
    check(Mixture(CPUS[name], GPT_OSS, Weights()), None, 1, 2, 7, 40)
    check(Mixture(CPUS[name], PLAIN, Weights()), 1, 1)


@pytest.mark.parametrize("name", CPUS)
def test_codes(name: str) -> None:
    check(Mixture(CPUS[name], GPT_OSS, Weights("i4", 24)), None, 1, 2, 7, 40)
    check(Mixture(CPUS[name], PLAIN, Weights("u8")), 1, 1)


@pytest.mark.full
@pytest.mark.parametrize("form", [PLAIN, SWIGLU], ids=["plain", "swiglu"])
@pytest.mark.parametrize("weights", [Weights(), Weights("float16"), Weights("u4", 32), Weights("i8")], ids=str)
def test_every_form(form: ExpertForm, weights: Weights) -> None:
    mixture = Mixture(host_cpu(), form, weights)
    check(mixture, None, 1, 3, 12, 13, 100)
    check(mixture, 1, 1)
    check(mixture, 5, 5)


@pytest.mark.parametrize("weights", [Weights(), Weights("i4", 32)], ids=["floats", "codes"])
def test_a_token_gives_the_same_numbers_alone_and_among_others(weights: Weights) -> None:
    mixture = Mixture(host_cpu(), SWIGLU, weights)
    given = tokens(SWIGLU, 50)
    whole = mixture.run(None, *given)
    for begin, end in ((0, 1), (3, 9), (17, 50)):
        assert torch.equal(mixture.run(None, *(part[begin:end].contiguous() for part in given)), whole[begin:end])
    for token in (0, 49):
        assert torch.equal(mixture.run(1, *(part[token : token + 1] for part in given)), whole[token : token + 1])


@pytest.mark.parametrize("known", [1, None])
def test_experts_that_were_not_chosen_are_not_read(known: int | None) -> None:
    """Their weights are not numbers, and nothing of them shows."""
    mixture = Mixture(host_cpu(), replace(SWIGLU, chosen=2), Weights())
    x, indices, shares = tokens(mixture.form, 1 if known else 6)
    indices = indices.clamp(2, 4)
    clean = mixture.run(known, x, indices, shares)
    for stack in mixture.arrays:
        blocks = len(stack) // SWIGLU.experts
        for expert in {e for e in range(SWIGLU.experts) if not bool((indices == e).any())}:
            stack[expert * blocks : (expert + 1) * blocks] = torch.nan
    assert torch.equal(mixture.run(known, x, indices, shares), clean)
    mixture.arrays[0][2 * (len(mixture.arrays[0]) // SWIGLU.experts)] = torch.nan
    assert bool(mixture.run(known, x, torch.full_like(indices, 2), shares).isnan().any())


def test_a_token_that_is_not_a_number_spoils_no_other() -> None:
    mixture = Mixture(host_cpu(), SWIGLU, Weights())
    x, indices, shares = tokens(SWIGLU, 30)
    clean = mixture.run(None, x, indices, shares)
    x[11] = torch.nan
    found = mixture.run(None, x, indices, shares)
    assert bool(found[11].isnan().all())
    others = [i for i in range(30) if i != 11]
    assert torch.equal(found[others], clean[others])


def test_all_tokens_to_one_expert_and_numbers_out_of_range() -> None:
    mixture = Mixture(host_cpu(), SWIGLU, Weights())
    x, indices, shares = tokens(SWIGLU, 31)
    last = torch.full_like(indices, SWIGLU.experts - 1)
    found, wanted = mixture.run(None, x, last, shares), mixture.exact(x, last, shares)
    assert float((found - wanted).abs().max()) <= SLACK * ROUNDOFF * float(wanted.abs().max())
    assert torch.equal(mixture.run(None, x, last + 5, shares), found)
    assert torch.equal(mixture.run(None, x, torch.zeros_like(last) - 1, shares), mixture.run(None, x, last * 0, shares))
