# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""The IR's `moe_experts` over weights as they come: each token reads by itself the rows of its experts."""

from __future__ import annotations

from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.expert_form import ExpertForm
from graphwright.backends.tvm.kernels.tir import filled, kept, lanes_within, matched_if, span, tree_sum
from graphwright.backends.tvm.tvm_library import T


def experts_of_tensors(
    cpu: Cpu,
    *,
    settings: Settings,
    form: ExpertForm,
) -> Any:
    """(x [M, size], indices i64 [M, chosen], shares [M, chosen], gate_up [experts, inner or 2 * inner, size], down
    [experts, outer, inner], gate_up_bias [experts, …] and down_bias [experts, outer] if there are, y [M, outer]).

    All others are float32. An index out of range counts as the nearest in it.
    """
    experts, size, inner, outer, chosen = form.experts, form.size, form.inner, form.outer, form.chosen
    gated, height, biases = form.gated, form.height, form.biases
    lanes, inner_lanes = lanes_within(cpu, size), lanes_within(cpu, inner)
    # Rows that are multiplied side by side, where their number can be divided so.
    rows, outer_rows = (settings["rows"] if length % settings["rows"] == 0 else 1 for length in (inner, outer))

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        x_handle: T.handle,
        indices_handle: T.handle,
        shares_handle: T.handle,
        gate_up_handle: T.handle,
        down_handle: T.handle,
        gate_up_bias_handle: T.handle,
        down_bias_handle: T.handle,
        y_handle: T.handle,
    ):
        tokens = T.int64()
        x = T.match_buffer(x_handle, (tokens, size), "float32")
        indices = T.match_buffer(indices_handle, (tokens, chosen), "int64")
        shares = T.match_buffer(shares_handle, (tokens, chosen), "float32")
        gate_up = T.match_buffer(gate_up_handle, (experts, height, size), "float32")
        down = T.match_buffer(down_handle, (experts, outer, inner), "float32")
        gate_up_bias = T.meta_var(matched_if(biases[0], gate_up_bias_handle, (experts, height)))
        down_bias = T.meta_var(matched_if(biases[1], down_bias_handle, (experts, outer)))
        y = T.match_buffer(y_handle, (tokens, outer), "float32")
        with T.sblock("root"):
            hidden = T.sblock_alloc_buffer((tokens, chosen, inner), "float32")
            for item in T.parallel(tokens * (chosen * (inner // rows))):
                with T.sblock("hidden"):
                    t = T.meta_var(item // (chosen * (inner // rows)))
                    j = T.meta_var(item // (inner // rows) % chosen)
                    first = T.meta_var(item % (inner // rows) * rows)
                    expert = T.meta_var(T.max(T.min(indices[t, j], T.int64(experts - 1)), T.int64(0)))
                    every = T.meta_var(span(0, lanes))
                    gates = T.sblock_alloc_buffer((rows, lanes), "float32", scope="local")
                    ups = T.sblock_alloc_buffer((rows, lanes), "float32", scope="local")
                    sums = T.sblock_alloc_buffer((2,), "float32", scope="local")
                    for r in T.unroll(rows):
                        gates[r, every] = filled(0.0, lanes)
                        ups[r, every] = filled(0.0, lanes)
                    for c in range(size // lanes):
                        at = T.meta_var(span(c * lanes, lanes))
                        for r in T.unroll(rows):
                            gates[r, every] += gate_up[expert, first + r, at] * x[t, at]
                            if gated:
                                ups[r, every] += gate_up[expert, inner + first + r, at] * x[t, at]
                    for r in T.unroll(rows):
                        sums[0] = tree_sum([gates[r, i] for i in range(lanes)])
                        sums[1] = tree_sum([ups[r, i] for i in range(lanes)])
                        if biases[0]:
                            sums[0] += gate_up_bias[expert, first + r]
                            if gated:
                                sums[1] += gate_up_bias[expert, inner + first + r]
                        hidden[t, j, first + r] = form.unit(sums[0], sums[1])
            for item in T.parallel(tokens * (outer // outer_rows)):
                with T.sblock("down"):
                    t = T.meta_var(item // (outer // outer_rows))
                    first = T.meta_var(item % (outer // outer_rows) * outer_rows)
                    every = T.meta_var(span(0, inner_lanes))
                    terms = T.sblock_alloc_buffer((outer_rows, inner_lanes), "float32", scope="local")
                    totals = T.sblock_alloc_buffer((outer_rows,), "float32", scope="local")
                    for r in T.unroll(outer_rows):
                        totals[r] = T.float32(0)
                    for j in range(chosen):
                        expert = T.meta_var(T.max(T.min(indices[t, j], T.int64(experts - 1)), T.int64(0)))
                        for r in T.unroll(outer_rows):
                            terms[r, every] = filled(0.0, inner_lanes)
                        for c in range(inner // inner_lanes):
                            at = T.meta_var(span(c * inner_lanes, inner_lanes))
                            for r in T.unroll(outer_rows):
                                terms[r, every] += down[expert, first + r, at] * hidden[t, j, at]
                        for r in T.unroll(outer_rows):
                            if biases[1]:
                                terms[r, 0] += down_bias[expert, first + r]
                            totals[r] += shares[t, j] * tree_sum([terms[r, i] for i in range(inner_lanes)])
                    for r in T.unroll(outer_rows):
                        y[t, first + r] = totals[r]

    return kept(kernel)
