# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Attention of many queries: blocks of them meet blocks of keys, and blocks that no query of it sees are left out.

How many there are is known when it runs: if they are few, threads share keys as in decode.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.attention_decode import attention_by_shares
from graphwright.backends.tvm.kernels.attention_form import AttentionForm, Tiling
from graphwright.backends.tvm.kernels.attention_operands import key_range, matched
from graphwright.backends.tvm.kernels.attention_output import output
from graphwright.backends.tvm.kernels.attention_scratch import allocated
from graphwright.backends.tvm.kernels.attention_tile import statements
from graphwright.backends.tvm.kernels.tir import filled, kept
from graphwright.backends.tvm.tvm_library import T


def attention_prefill(cpu: Cpu, settings: Settings, form: AttentionForm) -> Any:
    """Attention of any number of queries; `AttentionForm` tells the operands.

    An iteration takes a block of queries from the front and one from the back, which together see as many keys as any
    other two if the mask is causal.
    """
    tiling = Tiling(cpu, settings, form, max(1, settings["rows"] // form.group))
    queries, group = tiling.queries, form.group
    by_shares, few = attention_by_shares(cpu, settings, form, settings["few"]), settings["few"]
    body = statements(tiling)
    write = output(tiling)

    def put(scratch: Any) -> Any:
        """A block's sums are added to those of the blocks before it."""

        def add(row: Any, at: Any, sum: Any) -> None:
            factor = filled(scratch.factor[row], tiling.value_lanes)
            T.buffer_store(scratch.sums, scratch.sums[row, at] + sum * factor, [row, at])

        return add

    @T.inline
    def attend(operands: Any, b: Any, head: Any, first: Any, scratch: Any) -> None:
        item = T.meta_var(SimpleNamespace(b=b, head=head, first=first, count=T.min(queries, operands.sequence - first)))
        body.look(operands, item, scratch)
        body.start(operands, item, scratch)
        scratch.ends[0] = key_range(form, operands, b, scratch)[0]
        scratch.ends[1] = key_range(form, operands, b, scratch)[1]
        blocks = T.meta_var(body.blocks(scratch.ends[0], scratch.ends[1], scratch))
        for n in range(blocks[0], blocks[1]):
            body.block(operands, item, n, scratch.ends[0], scratch.ends[1], scratch)
            if scratch.count[0] > scratch.begin[0]:
                for r in range(item.count * group):
                    body.join(scratch, r, scratch.block_largest[r], scratch.block_total[r])
                body.sum_up(operands, item, n, scratch, put(scratch))
        for r in range(item.count * group):
            write(
                operands,
                b,
                head * group + r % group,
                first + r // group,
                scratch.largest[r],
                scratch.total[r],
                scratch.sums,
                r,
                scratch,
            )

    @T.prim_func(private=True, s_tir=True)
    def kernel(
        q: T.handle,
        k: T.handle,
        v: T.handle,
        positions: T.handle,
        key_length: T.handle,
        bias: T.handle,
        sinks: T.handle,
        key_positions: T.handle,
        key_scale: T.handle,
        value_scale: T.handle,
        y: T.handle,
    ):
        operands = T.meta_var(
            matched(form, (q, k, v, positions, key_length, bias, sinks, key_positions, key_scale, value_scale, y))
        )
        blocks = T.meta_var((operands.sequence + queries - 1) // queries)
        pairs = T.meta_var((blocks + 1) // 2)
        with T.sblock("root"):
            if operands.sequence <= few:
                by_shares(operands, operands.sequence)
            else:
                for i in T.parallel(operands.batch * form.kv_heads * pairs):
                    scratch = T.meta_var(allocated(tiling))
                    for j in range(T.min(2, blocks - i % pairs * 2)):
                        b = T.meta_var(i // (form.kv_heads * pairs))
                        head = T.meta_var(i // pairs % form.kv_heads)
                        block = T.meta_var(T.Select(j == 0, i % pairs, blocks - 1 - i % pairs))
                        attend(operands, b, head, block * queries, scratch)

    return kept(kernel)
