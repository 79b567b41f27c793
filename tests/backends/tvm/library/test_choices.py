"""Every value that a choice can have: a kernel with it computes what the reference says, to the bit where it must.

Kernels take long to compile, so a variant of one has other values of several choices at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from graphwright.backends.kernel_library import Problem
from graphwright.backends.tvm.cpu import AVX2, GENERIC, Cpu, host_cpu
from graphwright.backends.tvm.library import LIBRARY, library_for
from graphwright.ir import DType, Graph, Op, Program, UserError, ops
from graphwright.ir.dialects.cpu.attention import fused_attention
from graphwright.ir.dialects.cpu.bf16 import bf16_linear
from graphwright.ir.dialects.cpu.quantized import rounded_linear
from graphwright.ir.interpreter import run
from graphwright.ir.text import parse_type
from graphwright.ir.weights import Applied, StoredArray
from tests.backends.running import ROUNDOFF, SLACK
from tests.backends.tvm.steps import Steps

HOST = library_for(host_cpu())
PROBLEM = Problem(HOST.device)
Variant = dict[str, int]

ATTENTION: list[Variant] = [
    {"few": 1, "rows": 24, "tile_rows": 2, "tile_vectors": 2, "value_vectors": 5},
    {"few": 16, "shares": 16, "tile_rows": 6, "value_vectors": 24},
    {"few": 1, "rows": 96, "tile_rows": 4, "tile_vectors": 1, "keys": 32, "key_numbers": 2048},
    {"shares": 4, "tile_vectors": 4, "value_vectors": 10, "keys": 128, "key_numbers": 8192},
]
"""Of few queries the keys are shared out, of many the queries: not all choices can be tried at once."""


def variants(kernel: str) -> list[Variant]:
    """Settings in which every value stands that the host's kernel can have and by default has not."""
    if kernel == "attention":
        return ATTENTION
    found: list[Variant] = []
    for rounds in (False, True):
        others: dict[str, list[int]] = {}
        for choice in HOST.kernel(kernel).choices:
            if choice.rounds is rounds:
                allowed = [v for v in choice.values if choice.refusal(PROBLEM, v) is None]
                others[choice.name] = [v for v in allowed if v != choice.default_for(PROBLEM)]
        most = max(map(len, others.values()), default=0)
        found += [{n: values[i] for n, values in others.items() if i < len(values)} for i in range(most)]
    return found


def random(seed: int, *shape: int) -> StoredArray:
    return StoredArray.of(torch.randn(shape, generator=torch.Generator().manual_seed(seed)))


def op_of(program: Program, graph: Graph, kernel: str) -> Op:
    """An op that the kernel takes, between inputs of the graph and weights of its own."""

    def given(name: str, type: str) -> Any:
        return graph.add_input(name, parse_type(type))

    def weight(seed: int, *shape: int, codes: bool = False) -> Any:
        numbers: Any = random(seed, *shape)
        if codes:
            numbers = Applied.of(ops.round_to_nearest, (numbers,), {"to": DType.I4, "group": 32})
        return graph.weight(program.add_weight(f"{kernel}.w{seed}", numbers))

    match kernel:
        case "linear":
            return graph.insert(ops.linear, [given("x", "f32[B, 70]"), weight(1, 150, 70)], {})
        case "linear_by_codes":
            return graph.insert(ops.linear, [given("x", "f32[B, 96]"), weight(2, 40, 96, codes=True)], {})
        case "bf16_linear":
            return graph.insert(bf16_linear, [given("x", "f32[B, 70]"), weight(1, 150, 70)], {})
        case "rounded_linear":
            return graph.insert(
                rounded_linear, [given("x", "f32[B, 96]"), weight(3, 64, 96, codes=True)], {"group": 32}
            )
        case "matmul":
            return graph.insert(ops.matmul, [given("x", "f32[B, 9]"), given("y", "f32[9, 150]")], {})
        case "experts" | "experts_by_codes" | "experts_of_tensors":
            operands = [given("x", "f32[B, 32]"), given("i", "i64[B, 2]"), given("s", "f32[B, 2]")]
            inner, codes = (4 if kernel == "experts_of_tensors" else 64), kernel == "experts_by_codes"
            stacks = [weight(4, 3, 2 * inner, 32, codes=codes), weight(5, 3, 48, inner, codes=codes)]
            return graph.insert(ops.moe_experts, [*operands, *stacks], {"gated": True, "kind": "silu"})
        case "embedding_of_rows":
            return graph.insert(ops.embedding, [weight(6, 9, 200), given("i", "i64[B]")], {})
        case "glu":
            return graph.insert(ops.glu, [given("x", "f32[40, 200]"), given("y", "f32[40, 200]")], {"kind": "silu"})
        case "exp":
            return graph.insert(ops.exp, [given("x", "f32[70, 256]")], {})
        case "attention":
            caches = [given("k", "f32[B, 2, 150, 32]"), given("v", "f32[B, 2, 150, 40]")]
            attributes = {"scale": 0.3, "mask": "causal"}
            return graph.insert(
                fused_attention, [given("q", "f32[B, 6, 4, 32]"), *caches, given("p", "i64[B, 4]")], attributes
            )
        case _:
            raise AssertionError(kernel)


TRIED = (
    *("linear", "linear_by_codes", "rounded_linear", "bf16_linear", "matmul", "embedding_of_rows", "glu", "exp"),
    *("attention", "experts", "experts_by_codes", "experts_of_tensors"),
)


def test_every_value_is_tried() -> None:
    tried = {(choice, v) for name in TRIED for each in variants(name) for choice, v in _named(name, each)}
    for kernel in HOST.kernels:
        for choice in kernel.choices:
            for value in choice.values:
                if value != choice.default_for(PROBLEM) and choice.refusal(PROBLEM, value) is None:
                    assert (choice, value) in tried, f"{kernel.name}: {choice.name}={value}"


def _named(kernel: str, variant: Variant) -> list[tuple[Any, int]]:
    choices = {choice.name: choice for choice in HOST.kernel(kernel).choices}
    return [(choices[name], value) for name, value in variant.items()]


def test_what_does_not_fit_a_cpu_is_refused() -> None:
    with pytest.raises(UserError, match="kernel linear: choice 'tile_panels' is 2: two panels are summed where"):
        LIBRARY.settings(LIBRARY.kernel("linear"), Problem(GENERIC), {"tile_panels": 2})


def graphs() -> list[Graph]:
    program = Program("choices")
    found: list[Graph] = []
    for kernel in TRIED:
        graph = program.add_graph(Graph(kernel))
        graph.add_input("size", parse_type("i64[B]"))
        graph.outputs = {"y": op_of(program, graph, kernel).results[0]}
        assert HOST.kernel_for(next(iter(graph))).name == kernel
        found.append(graph)
    return found


def inputs(graph: Graph, batch: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(batch)
    found: dict[str, Tensor] = {}
    for value in graph.inputs:
        shape = [d.evaluate({"B": batch}) for d in value.type.shape]
        if value.name == "p":
            found["p"] = (torch.arange(shape[1]) + 120).expand(shape).contiguous()
        elif value.tensor.dtype is DType.I64:
            found[str(value.name)] = torch.randint(3, shape, generator=generator)
        else:
            found[str(value.name)] = torch.randn(shape, generator=generator)
    return found


def results(chosen: Mapping[str, Variant], kernels: list[Graph], folder: Path) -> dict[tuple[str, int], Tensor]:
    folder.mkdir()
    steps = Steps(kernels, folder, chosen={**chosen, "step": chosen.get("step", {})})
    return {(g.name, batch): steps.run(g.name, inputs(g, batch))["y"] for g in kernels for batch in (1, 3, 7, 13)}


@pytest.mark.parametrize("cpu", [GENERIC, AVX2, HOST.device], ids=lambda cpu: cpu.name)
def test_what_is_tried_of_attention_has_every_value(cpu: Cpu) -> None:
    for choice in library_for(cpu).kernel("attention").choices:
        allowed = {value for value in choice.values if choice.refusal(Problem(cpu), value) is None}
        tried = {variant[choice.name] for variant in ATTENTION if choice.name in variant}
        assert allowed <= tried | {choice.default_for(Problem(cpu))}, choice.name


@pytest.mark.slow
def test_kernels_compute_the_same_with_every_value(tmp_path: Path) -> None:
    kernels = graphs()
    plain = results({}, kernels, tmp_path / "plain")
    for (name, batch), found in plain.items():
        graph = next(g for g in kernels if g.name == name)
        wanted = run(graph, inputs(graph, batch))["y"]
        assert float((found - wanted).abs().max()) <= SLACK * ROUNDOFF * float(wanted.abs().max()), (name, batch)
    for number in range(max(len(variants(name)) for name in TRIED)):
        chosen = {name: variants(name)[number] for name in TRIED if number < len(variants(name))}
        patience = {"step": {"patience": (0, 20000)[number % 2]}}
        varied = results(chosen | patience, [g for g in kernels if g.name in chosen], tmp_path / str(number))
        for (name, batch), found in varied.items():
            if any(choice.rounds for choice, _ in _named(name, chosen[name])):
                bound = 2 * SLACK * ROUNDOFF * float(plain[name, batch].abs().max())
                assert float((found - plain[name, batch]).abs().max()) <= bound, (name, chosen[name])
            else:
                assert torch.equal(found, plain[name, batch]), (name, batch, chosen[name])
