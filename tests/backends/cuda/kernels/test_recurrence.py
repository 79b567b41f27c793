"""Recurrences on a GPU, interpreted, against the references in float64: one token, many, rows of other lengths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from graphwright.backends.cuda.gpu import GPUS
from graphwright.backends.cuda.library import LIBRARY
from graphwright.backends.cuda.lower import plan_graphs
from graphwright.backends.cuda.machine_code import read_code
from graphwright.backends.cuda.parallel_images import Task, images_of
from graphwright.ir import Builder, Graph, Program, ops
from graphwright.ir.declare import OpDef
from graphwright.ir.text import parse_type
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType, StateType, TensorType
from tests.backends.cuda.steps import Steps
from tests.tensors import listed

UNIT = {DType.F32: 2.0**-24, DType.F16: 2.0**-11, DType.BF16: 2.0**-8}
ADDED = 2.0**-18
"""Of the sum of all terms' sizes: 70 roundings of float32 in sums and decays. One of TF32's inputs is 2**-11."""
LONG = 70
LENGTHS = [LONG, 5, 0]
"""More than two tiles, a part of one, and no token."""


def planned(op: OpDef, shapes: Mapping[str, str | None], attributes: Mapping[str, Any]) -> Steps:
    """A graph of the op alone, whose inputs have its operands' names; no part of it is the tail's."""
    g = Program("test").add_graph(Graph("forward"))
    values = [None if t is None else g.add_input(n, parse_type(t)) for n, t in shapes.items()]
    made = Builder(g).op(op, *values, **attributes)
    g.outputs = {"y": made.results[0], "last": made.results[1]}
    steps = Steps([g])
    assert not steps.tail("forward")
    return steps


def drawn(shapes: Mapping[str, str | None], sizes: Mapping[str, int]) -> dict[str, Tensor]:
    """Inputs of those types; logarithms are below 0, and strengths between 0 and 1."""
    generator = torch.Generator().manual_seed(0)
    given: dict[str, Tensor] = {}
    for name, text in shapes.items():
        if text is None:
            continue
        type = parse_type(text)
        each = type.tensor if isinstance(type, StateType) else type
        assert isinstance(each, TensorType)
        shape = [dim.evaluate(sizes) for dim in each.shape]
        numbers = torch.randn(*shape, generator=generator, dtype=torch.float64)
        if name == "decay":
            numbers = -numbers.abs() / 2
        elif name == "rates":
            numbers = numbers.abs()
        elif name == "beta":
            numbers = numbers.sigmoid()
        elif name == "k" and "beta" in shapes:
            numbers /= numbers.square().sum(-1, keepdim=True).sqrt()
        given[name] = numbers.to(torch_dtype(each.dtype))
    if "new_length" in given:
        given["new_length"] = torch.tensor(LENGTHS).clamp(max=sizes["S"])
    return given


def compare(
    steps: Steps, op: OpDef, shapes: Mapping[str, str | None], given: dict[str, Tensor], attributes: Mapping[str, Any],
    sized: Mapping[str, Tensor | None], axis: int, unit: float, added: float = ADDED,
) -> None:  # fmt: skip
    """What steps give and what the reference does, rounded once; `sized` give the sum of all terms' sizes."""
    found = steps.run("forward", given)
    wide = {n: v if v.dtype is torch.int64 else v.double() for n, v in given.items()}
    want = op.evaluate([wide.get(name) for name in shapes], attributes)
    magnitude = op.evaluate([sized.get(name, wide.get(name)) for name in shapes], attributes)
    tokens = found["y"].shape[axis]
    lengths = given.get("new_length", torch.full((found["y"].shape[0],), tokens))
    for b, length in enumerate(listed(lengths)):
        one, other, most = (x[b].narrow(axis - 1, 0, length) for x in (found["y"].double(), want[0], magnitude[0]))
        assert ((one - other).abs() <= 2 * unit * other.abs() + added * most.abs()).all()
    assert ((found["last"] - want[1]).abs() <= 2 * unit * want[1].abs() + added * magnitude[1].abs()).all()
    assert not found["y"].isnan().any(), "padding holds what the memory held before"


FORMS: dict[str, dict[str, str | None]] = {
    "mamba": {
        "q": "[B, 1, S, 6]", "k": "[B, 1, S, 6]", "v": "[B, 9, S, 1]", "decay": "[B, 9, S, 1]", "rates": "[9, 6]",
    },
    "mamba 2": {"q": "[B, 2, S, 20]", "k": "[B, 2, S, 20]", "v": "[B, 4, S, 18]", "decay": "[B, 4, S, 1]"},
    "rated": {
        "q": "[B, 1, S, 16]", "k": "[B, 1, S, 16]", "v": "[B, 2, S, 70]", "decay": "[B, 2, S, 1]", "rates": "[2, 1]",
    },
    "plain": {"q": "[B, 2, S, 17]", "k": "[B, 2, S, 17]", "v": "[B, 2, S, 16]"},
    "per key": {"q": "[B, 3, S, 5]", "k": "[B, 3, S, 5]", "v": "[B, 3, S, 7]", "decay": "[B, 3, S, 5]"},
    "delta": {
        "q": "[B, 2, S, 8]", "k": "[B, 2, S, 8]", "v": "[B, 4, S, 6]", "decay": "[B, 4, S, 1]", "rates": None,
        "beta": "[B, 4, S]",
    },
}  # fmt: skip
OFTEN = {
    ("mamba", DType.F32, "long"), ("mamba", DType.BF16, "one"), ("mamba 2", DType.BF16, "long"),
    ("mamba 2", DType.F16, "one"), ("rated", DType.F16, "long"), ("plain", DType.F16, "fresh"),
    ("per key", DType.F32, "fresh"), ("delta", DType.F16, "long"), ("delta", DType.F32, "one"),
}  # fmt: skip
KINDS = ("one", "long", "fresh")
"""A token; many, with padding, behind a state; many from no state on."""
BY_PRODUCTS = {"mamba 2", "rated", "plain"}


@pytest.mark.parametrize(
    ("form", "dtype", "kind"),
    [
        pytest.param(f, d, k, marks=() if (f, d, k) in OFTEN else pytest.mark.emulated_full)
        for f in FORMS
        for d in (DType.F32, DType.F16, DType.BF16)
        for k in KINDS
    ],
)
def test_linear_recurrence(form: str, dtype: DType, kind: str) -> None:
    tokens = "1" if kind == "one" else "S"
    shapes = {n: None if t is None else f"{dtype}{t.replace('S', tokens)}" for n, t in FORMS[form].items()}
    shapes = {name: shapes.get(name) for name in ("q", "k", "v", "decay", "rates", "beta")}
    _, heads, _, values = FORMS[form]["v"].strip("[]").split(", ")  # pyright: ignore[reportOptionalMemberAccess] - all have one
    keys = str(FORMS[form]["k"]).strip("[]").split(", ")[3]
    fresh = kind == "fresh"
    shapes["state"] = None if fresh else f"state<recurrent {dtype}[B, {heads}, {keys}, {values}]>"
    shapes["new_length"] = None if fresh else "i64[B]"
    steps = planned(ops.linear_recurrence, shapes, {})
    body = "by_products" if form in BY_PRODUCTS and dtype is not DType.F32 and kind != "one" else "token_by_token"
    assert {variant.kernel for variant in steps.planned.variants.values()} == {body}
    given = drawn(shapes, {"B": len(LENGTHS), "S": 1 if kind == "one" else LONG})
    sized = {n: given[n].double().abs() for n in ("q", "k", "v", "state") if n in given}
    # The delta rule takes away what a key held: at most twice of what there is without it.
    both = {**sized, "beta": None, "v": 2 * sized["v"]} if shapes["beta"] else sized
    compare(steps, ops.linear_recurrence, shapes, given, {}, both, 2, UNIT[dtype])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("dtype", "width", "dilation"), [(DType.F32, 4, 1), (DType.BF16, 3, 2), (DType.F16, 2, 1)])
def test_causal_conv(dtype: DType, width: int, dilation: int, kind: str) -> None:
    """More channels than a block takes, and fewer tokens than a state holds."""
    tokens, past, fresh = "1" if kind == "one" else "S", (width - 1) * dilation, kind == "fresh"
    shapes = {
        "x": f"{dtype}[B, 70, {tokens}]",
        "weight": f"{dtype}[70, 1, {width}]",
        "bias": None if fresh else f"{dtype}[70]",
        "state": None if fresh else f"state<recurrent {dtype}[B, 70, {past}]>",
        "new_length": None if fresh else "i64[B]",
    }
    attributes = {"groups": 70, "dilation": dilation}
    steps = planned(ops.causal_conv, shapes, attributes)
    given = drawn(shapes, {"B": len(LENGTHS), "S": 1 if kind == "one" else LONG})
    sized = {n: v.double().abs() for n, v in given.items() if n != "new_length"}
    compare(steps, ops.causal_conv, shapes, given, attributes, sized, 2, UNIT[dtype])


@pytest.mark.parametrize(("dtype", "kind"), [(DType.F32, "long"), (DType.BF16, "one"), (DType.F16, "fresh")])
@pytest.mark.parametrize("scale", [1.0, 40.0])
def test_weighted_mean(dtype: DType, kind: str, scale: float) -> None:
    """Also of exponents whose exponentials are no numbers."""
    tokens, fresh = "1" if kind == "one" else "S", kind == "fresh"
    shapes = {
        "key": f"{dtype}[B, {tokens}, 20]",
        "value": f"{dtype}[B, {tokens}, 20]",
        "decay": f"{dtype}[20]",
        "bonus": f"{dtype}[20]",
        "state": None if fresh else f"state<recurrent {dtype}[B, 3, 20]>",
        "new_length": None if fresh else "i64[B]",
    }
    steps = planned(ops.weighted_mean, shapes, {})
    given = drawn(shapes, {"B": len(LENGTHS), "S": 1 if kind == "one" else LONG})
    given["key"] *= scale
    if not fresh:
        given["state"][:, 1] = given["state"][:, 1].abs() + 1
    sized = {"value": given["value"].double().abs()}
    if "state" in given:
        sized["state"] = given["state"].double()
        sized["state"][:, 0] = sized["state"][:, 0].abs()
    # Exponents, of up to four times the scale, are rounded at every token.
    compare(steps, ops.weighted_mean, shapes, given, {}, sized, 1, UNIT[dtype], LONG * 4 * scale * 2.0**-24)


@pytest.mark.parametrize(
    ("op", "operands", "attributes", "reason"),
    [
        (
            ops.causal_conv,
            ("f32[B, 4, S]", "f32[6, 2, 3]"),
            {"groups": 2, "dilation": 1},
            r"its kernel takes each channel by itself, its weight is f32\[6, 2, 3\]",
        ),
        (
            ops.linear_recurrence,
            ("f32[B, 1, S, 300]", "f32[B, 1, S, 300]", "f32[B, 1, S, 2]"),
            {},
            "a state of 300 keys a value is more than registers hold",
        ),
        (
            ops.linear_recurrence,
            ("f32[B, 1, S, N]", "f32[B, 1, S, N]", "f32[B, 1, S, 2]"),
            {},
            "a size of its state is N, no fixed number",
        ),
        (
            ops.weighted_mean,
            ("f32[B, S, N]", "f32[B, S, N]", "f32[N]", "f32[N]"),
            {},
            "it has N channels, no fixed number",
        ),
    ],
)
def test_refused(op: OpDef, operands: tuple[str, ...], attributes: dict[str, Any], reason: str) -> None:
    g = Graph("forward")
    values = [g.add_input(f"x{i}", parse_type(t)) for i, t in enumerate(operands)]
    made = g.insert(op, op.pad(values), attributes)
    (condition,) = (k.condition for k in LIBRARY.kernels if k.op is op and not k.name.startswith("tail_"))
    assert condition is not None
    assert re.fullmatch(reason, str(condition(made)))


STATE = "state<recurrent bf16[B, {}]>"
SIZED: dict[str, tuple[OpDef, tuple[str | None, ...]]] = {
    "mamba 2 2.7B": (
        ops.linear_recurrence,
        (
            "bf16[B, 1, S, 128]", "bf16[B, 1, S, 128]", "bf16[B, 80, S, 64]", "bf16[B, 80, S, 1]", None, None,
            STATE.format("80, 128, 64"), "i64[B]",
        ),
    ),
    "mamba 2.8B": (
        ops.linear_recurrence,
        (
            "bf16[B, 1, S, 16]", "bf16[B, 1, S, 16]", "bf16[B, 5120, S, 1]", "bf16[B, 5120, S, 1]", "bf16[5120, 16]",
            None, STATE.format("5120, 16, 1"), "i64[B]",
        ),
    ),
    "qwen3-next 80B": (
        ops.linear_recurrence,
        (
            "bf16[B, 16, S, 128]", "bf16[B, 16, S, 128]", "bf16[B, 32, S, 128]", "bf16[B, 32, S, 1]", None,
            "bf16[B, 32, S]", STATE.format("32, 128, 128"), "i64[B]",
        ),
    ),
    "gated linear attention": (
        ops.linear_recurrence,
        ("bf16[B, 4, 1, 256]", "bf16[B, 4, 1, 256]", "bf16[B, 4, 1, 512]", "bf16[B, 4, 1, 256]"),
    ),
    "convolution": (
        ops.causal_conv,
        ("bf16[B, 8192, S]", "bf16[8192, 1, 4]", "bf16[8192]", STATE.format("8192, 3"), "i64[B]"),
    ),
    "rwkv 7B": (ops.weighted_mean, ("bf16[B, S, 4096]", "bf16[B, S, 4096]", "bf16[4096]", "bf16[4096]")),
}  # fmt: skip
"""Ops as models of these sizes have them."""
COMPILED_OFTEN = {("mamba 2 2.7B", "sm_80"), ("mamba 2 2.7B", "sm_90"), ("qwen3-next 80B", "sm_90")}


@pytest.mark.parametrize(
    ("model", "architecture"),
    [
        pytest.param(m, a, marks=() if (m, a) in COMPILED_OFTEN else pytest.mark.emulated_full)
        for m in SIZED
        for a in GPUS
    ],
)
def test_machine_code_keeps_states_in_registers(model: str, architecture: str) -> None:
    op, types = SIZED[model]
    g = Program("test").add_graph(Graph("forward"))
    values = [None if t is None else g.add_input(f"x{i}", parse_type(t)) for i, t in enumerate(types)]
    attributes = {"groups": 8192, "dilation": 1} if op is ops.causal_conv else {}
    made = Builder(g).op(op, *values, **attributes)
    g.outputs = {"y": made.results[0], "last": made.results[1]}
    gpu = GPUS[architecture]
    (variant,) = plan_graphs([g], gpu).variants.values()
    (image,) = images_of([Task(variant, gpu)])
    code = read_code(image.code, image.symbol)
    assert code.stack_bytes == 0, f"{model} spills {code.stack_bytes} bytes on {architecture}"
    assert image.shared <= gpu.shared_bytes
    if model == "mamba 2 2.7B":
        assert variant.kernel == "by_products"
        assert sum(code.products.values()) > 0, "its products are not of tensor cores"
