"""Which ops are written in groups."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from graphwright.backends.tvm.cpu import host_cpu
from graphwright.backends.tvm.emit import emit_function
from graphwright.backends.tvm.tvm_library import relax
from graphwright.ir import Graph, clone_graph
from tests.backends.models import LLAMA, Shape, decoder

ONE = replace(LLAMA, layers=1)


def kernels(graph: Graph) -> Counter[str]:
    """How often the graph's function calls each kernel, numbers of variants left off."""
    builder = relax.BlockBuilder()
    emit_function(builder, graph, host_cpu(), {})
    function = next(f for name, f in builder.finalize().functions_items() if name.name_hint == graph.name)
    values = [binding.value for block in function.body.blocks for binding in block.bindings]
    calls = [v for v in values if isinstance(v, relax.Call) and v.op.name.startswith("relax.call_tir")]
    return Counter(str(call.args[0].name_hint).rstrip("0123456789") for call in calls)


def graph_of(shape: Shape) -> Graph:
    return decoder(shape).graphs["prefill"]


@pytest.mark.parametrize("sizes", [{}, {"B": 1, "S": 1, "N": 1}, {"S": 4}], ids=["prefill", "decode", "verify"])
def test_a_layer_of_a_llama_is_ten_kernels(sizes: dict[str, int]) -> None:
    called = kernels(clone_graph(graph_of(ONE), "step", sizes))
    assert not {"split", "rope", "kv_append", "glu", "transpose"} & called.keys()
    fused = {name: called[name] for name in ("rotary_append", "packed_glu", "attention", "add_rms_norm", "linear")}
    # The last norm is of the tokens whose logits are wanted, and its sum not.
    assert fused == {"rotary_append": 1, "packed_glu": 1, "attention": 1, "add_rms_norm": 1, "linear": 5}
    assert called["rms_norm"] == 2
