# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Attention of few queries to many keys: keys are cut into parts, which threads take at once, and the parts joined.

The heads of a group share each key and value that is read (Ainslie et al. 2023); parts are joined as in Flash-Decoding
(Dao et al. 2023).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.attention_form import AttentionForm, Tiling
from graphwright.backends.tvm.kernels.attention_operands import key_range, matched
from graphwright.backends.tvm.kernels.attention_output import or_zero, output
from graphwright.backends.tvm.kernels.attention_tile import allocated, statements
from graphwright.backends.tvm.kernels.fast_math import exp
from graphwright.backends.tvm.kernels.folding import larger
from graphwright.backends.tvm.kernels.loops import filled, span
from graphwright.backends.tvm.kernels.optional_operands import kept
from graphwright.backends.tvm.tvm_library import T

PARTS = 8
"""Parts of each row's keys, whatever the number of threads: results do not depend on that."""


def attention_decode(cpu: Cpu, form: AttentionForm, queries: int) -> Any:
    """Attention of so many queries a row; `AttentionForm` tells the operands.

    The parts of a row are whole blocks of keys, as equal as may be. Threads take neighbouring iterations, whose slowest
    index is the part: so long and short rows of a batch fall to all threads alike.
    """
    tiling = Tiling(cpu, form, queries)
    group, lanes, keys, rows = form.group, tiling.value_lanes, tiling.keys, tiling.rows
    body = statements(tiling)
    write = output(tiling)

    @T.inline
    def attend(operands: Any, item: Any, part: Any, parts: Any, scratch: Any) -> None:
        body.look(operands, item, scratch)
        low = T.meta_var(key_range(form, operands, item.b, scratch)[0])
        end = T.meta_var(key_range(form, operands, item.b, scratch)[1])
        blocks = T.meta_var(T.max(end - low + keys - 1, 0) // keys)
        scratch.ends[0] = low + part * blocks // PARTS * keys
        scratch.ends[1] = T.min(low + (part + 1) * blocks // PARTS * keys, end)
        if scratch.ends[0] < scratch.ends[1]:
            body.start(operands, item, scratch)
            body.run(operands, item, scratch.ends[0], scratch.ends[1], scratch)
            for r in range(rows):
                parts.largest[item.b, item.head, part, r] = scratch.largest[r]
                parts.total[item.b, item.head, part, r] = scratch.total[r]
                for i in range(form.value_size // lanes):
                    at = T.meta_var(span(i * lanes, lanes))
                    parts.sums[item.b, item.head, part, r, at] = scratch.sums[r, at]
        else:
            for r in range(rows):
                parts.largest[item.b, item.head, part, r] = T.float32(float("-inf"))
                parts.total[item.b, item.head, part, r] = T.float32(0)

    @T.inline
    def join(operands: Any, b: Any, head: Any, query: Any, parts: Any, scratch: Any) -> None:
        row = T.meta_var(query * group + head % group)
        scratch.joined[0] = T.float32(float("-inf"))
        scratch.joined[1] = T.float32(0)
        for i in range(form.value_size // lanes):
            scratch.sums[0, span(i * lanes, lanes)] = filled(0.0, lanes)
        for part in range(PARTS):
            scratch.joined[0] = larger(parts.largest[b, head // group, part, row], scratch.joined[0])
        for part in range(PARTS):
            # A part that saw nothing has no sums.
            if T.Not(parts.total[b, head // group, part, row] == T.float32(0)):
                largest = T.meta_var(parts.largest[b, head // group, part, row])
                scratch.joined[2] = exp(largest - or_zero(scratch.joined[0]))
                scratch.joined[1] += parts.total[b, head // group, part, row] * scratch.joined[2]
                for i in range(form.value_size // lanes):
                    at = T.meta_var(span(i * lanes, lanes))
                    scratch.sums[0, at] += parts.sums[b, head // group, part, row, at] * filled(
                        scratch.joined[2], lanes
                    )
        write(operands, b, head, query, scratch.joined[0], scratch.joined[1], scratch.sums, 0, scratch)

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
            matched(
                form,
                (q, k, v, positions, key_length, bias, sinks, key_positions, key_scale, value_scale, y),
                queries,
            )
        )
        batch = T.meta_var(operands.batch)
        with T.sblock("root"):
            largest = T.sblock_alloc_buffer((batch, form.kv_heads, PARTS, rows), "float32")
            total = T.sblock_alloc_buffer((batch, form.kv_heads, PARTS, rows), "float32")
            sums = T.sblock_alloc_buffer((batch, form.kv_heads, PARTS, rows, form.value_size), "float32")
            parts = T.meta_var(SimpleNamespace(largest=largest, total=total, sums=sums))
            for i in T.parallel(PARTS * batch * form.kv_heads):
                scratch = T.meta_var(allocated(tiling))
                part = T.meta_var(i // (batch * form.kv_heads))
                b = T.meta_var(i // form.kv_heads % batch)
                item = T.meta_var(SimpleNamespace(b=b, head=i % form.kv_heads, first=0, count=queries))
                attend(operands, item, part, parts, scratch)
            for i in T.parallel(batch * form.heads * queries):
                scratch = T.meta_var(allocated(tiling))
                b = T.meta_var(i // (form.heads * queries))
                join(operands, b, i // queries % form.heads, i % queries, parts, scratch)

    return kept(kernel)
