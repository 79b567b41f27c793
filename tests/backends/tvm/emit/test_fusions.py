"""Which ops are written in groups, and that models with groups are as the interpreter has them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from graphwright.backends.tvm.cpu import host_cpu
from graphwright.backends.tvm.emit import emit_function
from graphwright.backends.tvm.emit.fusions import find_fusions
from graphwright.backends.tvm.tvm_library import relax
from graphwright.ir import Graph, clone_graph, ops
from graphwright.ir.declare import OpDef
from graphwright.lowering import build_tvm_artifact
from tests.backends.models import LLAMA, MODELS, Shape, decoder
from tests.backends.running import Reference, close_enough, prefill_inputs, vocabulary
from tests.backends.tvm.stepping import Stepping

ONE = replace(LLAMA, layers=1)
CAPACITY = 24
STEPS = [(6, [6, 2]), (1, [1, 1]), (4, [4, 3]), (1, [1, 1])]
"""New tokens of a step, padding included, and how many of each row are real: prefill, decode, verify, decode."""


def kernels(graph: Graph) -> Counter[str]:
    """How often the graph's function calls each kernel, numbers of variants left off."""
    builder = relax.BlockBuilder()
    emit_function(builder, graph, host_cpu(), {}, {})
    function = next(f for name, f in builder.finalize().functions_items() if name.name_hint == graph.name)
    values = [binding.value for block in function.body.blocks for binding in block.bindings]
    calls = [v for v in values if isinstance(v, relax.Call) and v.op.name.startswith("relax.call_tir")]
    return Counter(str(call.args[0].name_hint).rstrip("0123456789") for call in calls)


def graph_of(shape: Shape) -> Graph:
    return decoder(shape).graphs["prefill"]


def groups(shape: Shape, sizes: dict[str, int]) -> Counter[str]:
    """The groups of a decoder, each as its members."""
    graph = clone_graph(graph_of(shape), "step", sizes)
    found = {fusion.members: fusion for fusion in find_fusions(graph).values()}
    return Counter(" ".join(op.name for op in members) for members in found)


@pytest.mark.parametrize("sizes", [{}, {"B": 1, "S": 1, "N": 1}, {"B": 1, "S": 4, "N": 4}])
def test_groups_are_the_same_in_every_function(sizes: dict[str, int]) -> None:
    appended = "split_heads split_heads split_heads rope rope kv_append kv_append"
    rest = {"attention merge_heads": 1, "glu": 1}
    assert groups(ONE, sizes) == {appended: 1, "add rms_norm": 1, **rest}
    # Norms of queries and keys stand between, projections of their own are in no one row.
    assert groups(replace(ONE, qk_norm=True), sizes) == {"add rms_norm": 1, **rest}
    assert groups(replace(ONE, packed=False), sizes) == {"add rms_norm": 1, **rest}
    assert groups(replace(MODELS["gpt2"], layers=1), sizes) == {
        "split_heads split_heads split_heads kv_append kv_append": 1,
        "attention merge_heads": 1,
        "add layer_norm": 2,
    }


def test_what_is_between_is_nowhere_in_memory() -> None:
    called = kernels(graph_of(ONE))
    assert not {"split", "rope", "kv_append", "glu", "transpose", "compute"} & called.keys()
    fused = {name: called[name] for name in ("rotary_append", "packed_glu", "attention", "add_rms_norm", "linear")}
    assert fused == {"rotary_append": 1, "packed_glu": 1, "attention": 1, "add_rms_norm": 1, "linear": 5}


def test_a_sum_that_is_read_before_its_norm_is_no_group() -> None:
    graph = graph_of(ONE)
    norm = next(op for op in graph if op.name == "rms_norm" and op.required("x").defined_by(ops.add) is not None)
    total = norm.required("x")
    graph.outputs["early"] = graph.insert(ops.neg, [total], {}, before=norm).result
    assert norm not in find_fusions(graph)
    graph.outputs["late"] = total
    del graph.outputs["early"]
    graph.erase_dead()
    assert norm in find_fusions(graph)


@pytest.mark.parametrize("between", [ops.split, ops.split_heads, ops.rope, ops.attention])
def test_what_is_between_must_be_read_by_nobody_else(between: OpDef) -> None:
    graph = graph_of(ONE)
    (op, *_), before = [op for op in graph if op.definition is between], len(find_fusions(graph))
    value = op.results[-1]
    assert all(user in find_fusions(graph) for user in value.users)
    graph.outputs["seen"] = value
    seen_rope = between is ops.rope  # its query is what the group is for
    assert (len(find_fusions(graph)) == before) == seen_rope
    del graph.outputs["seen"]
    graph.outputs["seen"] = graph.insert(ops.neg, [value], {}).result
    assert (len(find_fusions(graph)) == before) == seen_rope


@pytest.mark.parametrize("attribute", ["interleaved", "scale"])
def test_queries_and_keys_turned_differently_are_no_group(attribute: str) -> None:
    graph = graph_of(ONE)
    query, _ = [op for op in graph if op.definition is ops.rope]
    assert query in find_fusions(graph)
    query.attributes[attribute] = {"interleaved": True, "scale": 2.0}[attribute]
    assert query not in find_fusions(graph)


def test_another_result_of_the_split_is_still_copied() -> None:
    graph = graph_of(ONE)
    glu = next(op for op in graph if op.definition is ops.glu)
    packed = glu.inputs[0].owner
    assert packed is not None
    sizes = (40, 40, 112)
    gate, up, other = graph.insert(ops.split, packed.inputs, {"axis": 2, "sizes": sizes}, before=glu).results
    small = graph.insert(ops.glu, [gate, up], {"kind": "silu"}, before=glu).result
    graph.outputs |= {"small": small, "other": other}
    called = kernels(graph)
    assert (called["packed_glu"], called["split"]) == (2, 1)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_models_with_groups_equal_the_interpreter(name: str, tmp_path: Path) -> None:
    program = decoder(replace(MODELS[name], layers=1))
    build_tvm_artifact(program, tmp_path / "a")
    graph = program.graphs["prefill"]
    random = np.random.default_rng(5)
    for batch in (1, 2):
        compiled, reference = Stepping(tmp_path / "a", batch, CAPACITY), Reference(graph, batch, CAPACITY)
        past = np.zeros(batch, np.int64)
        for length, real in STEPS:
            new = np.array(real[:batch])
            inputs = prefill_inputs(random.integers(0, vocabulary(program), (batch, length)), past, new)
            got, expected = compiled.step(inputs), reference.step(inputs)
            for row in range(batch):
                g, e = got[row, : new[row]], expected[row, : new[row]]
                assert np.abs(g - e).max() <= close_enough(e), f"row {row} of {length} tokens after {past}"
            past = past + new
