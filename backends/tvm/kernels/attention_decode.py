# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownArgumentType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Attention of few queries to many keys: threads take blocks of keys at once, whose results are joined afterwards.

The heads of a group share each key and value that is read (Ainslie et al. 2023); keys are cut as in Flash-Decoding
(Dao et al. 2023).
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.attention_form import AttentionForm, Tiling
from graphwright.backends.tvm.kernels.attention_operands import key_range, matched
from graphwright.backends.tvm.kernels.attention_output import output
from graphwright.backends.tvm.kernels.attention_scratch import allocated
from graphwright.backends.tvm.kernels.attention_tile import statements
from graphwright.backends.tvm.kernels.fast_math import is_nonzero
from graphwright.backends.tvm.kernels.tir import filled, kept, span
from graphwright.backends.tvm.tvm_library import T


def attention_decode(cpu: Cpu, settings: Settings, form: AttentionForm, queries: int) -> Any:
    """Attention of so many queries a row; `AttentionForm` tells the operands."""
    by_shares = attention_by_shares(cpu, settings, form, queries)

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
        by_shares(operands, queries)

    return kept(kernel)


def attention_by_shares(cpu: Cpu, settings: Settings, form: AttentionForm, most: int) -> Any:
    """A script function `(operands, queries)`, of at most `most` queries a row: the block of two stages.

    Shares of each row's blocks are as many whatever the number of threads, and as equal as may be. Threads take
    neighbouring iterations, whose slowest index is the share: so long and short rows of a batch fall to all threads
    alike.
    """
    tiling, shares = Tiling(cpu, settings, form, most, streams=True), settings["shares"]
    group, lanes, keys, rows = form.group, tiling.value_lanes, tiling.keys, tiling.padded_rows
    body = statements(tiling)
    write = output(tiling)

    def put(item: Any, n: Any, found: Any) -> Any:
        """A block's sums are kept for those who join them."""

        def store(row: Any, at: Any, sum: Any) -> None:
            T.buffer_store(found.sums, sum, [item.b, item.head, n, row, at])

        return store

    @T.inline
    def look(operands: Any, item: Any, scratch: Any) -> None:
        """The keys that the item's rows may see."""
        body.look(operands, item, scratch)
        scratch.ends[0] = key_range(form, operands, item.b, scratch)[0]
        scratch.ends[1] = key_range(form, operands, item.b, scratch)[1]

    @T.inline
    def attend(operands: Any, item: Any, share: Any, found: Any, scratch: Any) -> None:
        look(operands, item, scratch)
        low = T.meta_var(body.blocks(scratch.ends[0], scratch.ends[1], scratch)[0])
        end = T.meta_var(body.blocks(scratch.ends[0], scratch.ends[1], scratch)[1])
        scratch.shared[0] = low + share * (end - low) // shares
        scratch.shared[1] = low + (share + 1) * (end - low) // shares
        if scratch.shared[0] < scratch.shared[1]:
            body.start(operands, item, scratch)
            for n in range(scratch.shared[0], scratch.shared[1]):
                body.block(operands, item, n, scratch.ends[0], scratch.ends[1], scratch)
                if scratch.count[0] > scratch.begin[0]:
                    for r in range(item.count * group):
                        found.largest[item.b, item.head, n, r] = scratch.block_largest[r]
                        found.total[item.b, item.head, n, r] = scratch.block_total[r]
                    body.sum_up(operands, item, n, scratch, put(item, n, found))
                else:
                    for r in range(item.count * group):
                        found.total[item.b, item.head, n, r] = T.float32(0)

    @T.inline
    def join(operands: Any, item: Any, head: Any, query: Any, found: Any, scratch: Any) -> None:
        row = T.meta_var(query * group + head % group)
        look(operands, item, scratch)
        blocks = T.meta_var(body.blocks(scratch.ends[0], scratch.ends[1], scratch))
        body.begin(scratch, 0)
        for n in range(blocks[0], blocks[1]):
            largest = T.meta_var(found.largest[item.b, item.head, n, row])
            body.join(scratch, 0, largest, found.total[item.b, item.head, n, row])
            if is_nonzero(scratch.factor[0]):
                for i in range(form.value_size // lanes):
                    at = T.meta_var(span(i * lanes, lanes))
                    sum = T.meta_var(found.sums[item.b, item.head, n, row, at])
                    scratch.sums[0, at] += sum * filled(scratch.factor[0], lanes)
        write(operands, item.b, head, query, scratch.largest[0], scratch.total[0], scratch.sums, 0, scratch)

    def count(queries: Any, scratch: Any) -> Any:
        """From a length, TVM would work out sizes of what is handed on that it can't allocate; this it can't see."""
        return queries if isinstance(queries, int) else scratch.queries_here[0]

    @T.inline
    def by_shares(operands: Any, queries: Any) -> None:
        batch = T.meta_var(operands.batch)
        with T.sblock("by_shares"):
            # What it touches is read off its loops; TVM's own search would find scratch that is not known out here.
            T.reads()
            T.writes()
            # A ring's first key may be within a block.
            blocks = T.meta_var((operands.capacity + keys - 1) // keys + (1 if form.ring > 0 else 0))
            largest = T.sblock_alloc_buffer((batch, form.kv_heads, blocks, rows), "float32")
            total = T.sblock_alloc_buffer((batch, form.kv_heads, blocks, rows), "float32")
            sums = T.sblock_alloc_buffer((batch, form.kv_heads, blocks, rows, form.value_size), "float32")
            found = T.meta_var(SimpleNamespace(largest=largest, total=total, sums=sums))
            for i in T.parallel(shares * batch * form.kv_heads):
                scratch = T.meta_var(allocated(tiling))
                share = T.meta_var(
                    (i // (batch * form.kv_heads) + i % (batch * form.kv_heads) % 2 * (shares // 2)) % shares
                )
                b = T.meta_var(i // form.kv_heads % batch)
                scratch.queries_here[0] = queries
                item = T.meta_var(SimpleNamespace(b=b, head=i % form.kv_heads, first=0, count=count(queries, scratch)))
                attend(operands, item, share, found, scratch)
            for i in T.parallel(batch * form.heads):
                scratch = T.meta_var(allocated(tiling))
                head = T.meta_var(i % form.heads)
                b = T.meta_var(i // form.heads)
                scratch.queries_here[0] = queries
                item = T.meta_var(SimpleNamespace(b=b, head=head // group, first=0, count=count(queries, scratch)))
                for query in range(item.count):
                    join(operands, item, head, query, found, scratch)

    return by_shares
