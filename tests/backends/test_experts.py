"""Mixtures of experts in both dialects: every routing, few tokens and many, and nothing read that was not chosen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from graphwright.backends.onnx.compile import MODEL_FILE, write_models
from graphwright.compiling.lowering import build_artifact
from graphwright.ir import Builder, Graph, Interpreter, Program, StoredArray, Value, ops, tensor
from graphwright.ir.dialects.ort import dialects
from graphwright.ir.rewriting import Outcome
from tests.backends.running import start
from tests.frontend.zoo import captured, tiny
from tests.passes.lowering.ort.lowered import lower_program
from tests.tensors import manual_seed

EXPERTS, SIZE, INNER = 5, 16, 24
GPT_OSS = {"kind": "silu", "gated": True, "alpha": 1.702, "limit": 0.7, "up_offset": 1.0}
SLACK = 4
"""Of the interpreter's own distance in float32 from float64: sums in another order, and another exponential."""

UNITS: dict[str, tuple[dict[str, Any], bool, int]] = {
    "swiglu": ({"kind": "silu", "gated": True}, False, SIZE),
    "gpt_oss": (GPT_OSS, True, SIZE),
    "clamped": ({"kind": "silu", "gated": True, "limit": 0.5}, False, SIZE),
    "geglu": ({"kind": "gelu_tanh", "gated": True}, True, SIZE),
    "exact gelu": ({"kind": "gelu", "gated": True}, False, SIZE),
    "relu": ({"kind": "relu", "gated": False}, True, SIZE),
    "gelu": ({"kind": "gelu_tanh", "gated": False}, False, SIZE),
    "swish": ({"kind": "silu", "gated": False, "alpha": 1.702}, False, SIZE),
    "narrower": ({"kind": "silu", "gated": True}, True, 6),
}
FUSED = {"swiglu", "gpt_oss", "clamped", "relu", "gelu"}
"""Those that the MoE operator computes."""


def mixture(attributes: dict[str, Any], biased: bool = False, out: int = SIZE, **changes: str) -> Program:
    """`moe_experts` alone, of x [B, S, size]."""
    manual_seed(0)
    program = Program("mixture")
    graph = program.add_graph(Graph("forward"))
    rows = INNER * 2 if attributes["gated"] else INNER
    x = graph.add_input("x", tensor("f32", "B", "S", SIZE))
    indices = graph.add_input("indices", tensor("i64", "B", "S", 2))
    weights = graph.add_input("weights", tensor(changes.get("weights", "f32"), "B", "S", 2))

    def weight(name: str, *shape: int) -> Value:
        return graph.weight(program.add_weight(name, StoredArray.of(torch.randn(shape) / shape[-1] ** 0.5)))

    operands = [x, indices, weights, weight("gate_up", EXPERTS, rows, SIZE), weight("down", EXPERTS, out, INNER)]
    if biased:
        operands += [weight("gate_up_bias", EXPERTS, rows), weight("down_bias", EXPERTS, out)]
    graph.outputs["y"] = Builder(graph, location="layers.0.mlp")(ops.moe_experts, *operands, **attributes)
    return program


def routings() -> Iterator[dict[str, Tensor]]:
    """One token, many tokens, all to one expert, twice to the same expert, and weights below zero."""
    generator = torch.Generator().manual_seed(1)
    for batch, length in ((1, 1), (3, 1), (2, 7), (1, 40)):
        x = torch.randn(batch, length, SIZE, generator=generator)
        weights = torch.randn(batch, length, 2, generator=generator)
        indices = torch.rand(batch, length, EXPERTS, generator=generator).argsort(-1)[..., :2]
        yield {"x": x, "indices": indices, "weights": weights}
        yield {"x": x, "indices": torch.full_like(indices, 3), "weights": weights}
        yield {"x": x, "indices": indices.clamp(1, 2), "weights": weights.abs()}


def lowered(program: Program, dialect: str) -> tuple[Graph, Outcome]:
    copy = program.clone()
    graph = copy.graphs["forward"]
    return graph, lower_program(copy, graph, dialects.TARGETS[dialect])


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", UNITS)
def test_every_routing(name: str, dialect: str, tmp_path: Path) -> None:
    program = mixture(*UNITS[name])
    graph, _ = lowered(program, dialect)
    assert ("ort.chosen_experts" in [op.name for op in graph]) == (dialect == "ort" and name in FUSED)
    write_models({MODEL_FILE: graph}, "mixture", tmp_path, "weights", contrib=dialect == "ort")
    session = start(tmp_path / "model.onnx")
    for inputs in routings():
        exact, eager = (Interpreter(p).run(program.graphs["forward"], inputs)["y"] for p in ("float64", "reference"))
        (got,) = session.run(None, {n: v.numpy() for n, v in inputs.items()})
        # The floor: a token's result may be exact by chance in so few tokens.
        floor = 2.0**-23 * float(exact.abs().max())
        bound = SLACK * max(float((eager - exact).abs().max()), floor)
        assert np.abs(got - exact.numpy()).max() <= bound, f"{tuple(inputs['x'].shape)}"


def test_nothing_spreads_from_a_token_to_another(tmp_path: Path) -> None:
    for dialect in ("ort", "portable"):
        graph, _ = lowered(mixture({"kind": "silu", "gated": True}), dialect)
        write_models({MODEL_FILE: graph}, "mixture", tmp_path, "weights", contrib=dialect == "ort")
        session = start(tmp_path / "model.onnx")
        *_, inputs = ({n: v.numpy() for n, v in i.items()} for i in routings())
        (clean,) = session.run(None, inputs)
        inputs["x"] = inputs["x"].copy()
        inputs["x"][0, 3] = np.nan
        (got,) = session.run(None, inputs)
        assert np.isnan(got[0, 3]).all()
        assert np.array_equal(np.delete(got, 3, 1), np.delete(clean, 3, 1))


def test_weights_of_another_float_type_are_cast(tmp_path: Path) -> None:
    program = mixture({"kind": "silu", "gated": True}, weights="f64")
    for dialect in ("ort", "portable"):
        graph, _ = lowered(program, dialect)
        inputs = {**next(routings())}
        inputs["weights"] = inputs["weights"].double()
        write_models({MODEL_FILE: graph}, "mixture", tmp_path, "weights", contrib=dialect == "ort")
        (got,) = start(tmp_path / "model.onnx").run(None, {n: v.numpy() for n, v in inputs.items()})
        torch.testing.assert_close(torch.as_tensor(got), Interpreter().run(program.graphs["forward"], inputs)["y"])


def test_what_the_operator_does_not_do_is_told() -> None:
    _, outcome = lowered(mixture({"kind": "gelu", "gated": True}), "ort")
    (miss,) = (m for m in outcome.near_misses if m.rule == "chosen-experts")
    assert str(miss) == "chosen-experts at layers.0.mlp: ort: a gate of gelu"
    _, outcome = lowered(mixture({"kind": "silu", "gated": True}, out=6), "ort")
    (miss,) = (m for m in outcome.near_misses if m.rule == "chosen-experts")
    assert miss.reason == "ort: experts from size 16 to 6"


def test_the_loop_gathers_one_expert_at_a_time(tmp_path: Path) -> None:
    """Prefill would not fit into memory with a copy of the weights for each token."""
    graph, _ = lowered(mixture({"kind": "silu", "gated": True}), "portable")
    write_models({MODEL_FILE: graph}, "mixture", tmp_path, "weights", contrib=False)
    proto = onnx.load_model_from_string((tmp_path / "model.onnx").read_bytes()).graph
    assert not [n for n in proto.node if {"gate_up", "down"} & set(n.input)]
    (loop,) = (n for n in proto.node if n.op_type == "Loop")
    body = next(a.g for a in loop.attribute if a.name == "body")
    picked = [n for n in body.node if {"gate_up", "down"} & set(n.input)]
    assert [n.op_type for n in picked] == ["Gather", "Gather"]
    assert len({n.input[1] for n in picked}) == 1


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", ["mixtral", "deepseek_v3", "gpt_oss"])
def test_captured_mixture(name: str, dialect: str, tmp_path: Path) -> None:
    model = tiny(name)
    build_artifact(captured(name), tmp_path / "model", dialect=dialect)
    nodes = onnx.load_model_from_string((tmp_path / "model" / "model.onnx").read_bytes()).graph.node
    assert ("MoE" in {n.op_type for n in nodes}) == (dialect == "ort")
    assert ("Loop" in {n.op_type for n in nodes}) == (dialect == "portable")
    session = start(tmp_path / "model" / "model.onnx")
    exact_model = tiny(name).double()
    for shape in ((1, 1), (3, 7), (1, 29)):
        ids = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(shape[1]))
        with torch.no_grad():
            eager, exact = model(ids).logits, exact_model(ids).logits
        (got,) = session.run(None, {"input_ids": ids.numpy()})
        assert np.abs(got - exact.numpy()).max() <= SLACK * float((eager - exact).abs().max())
