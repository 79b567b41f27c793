"""From a packed projection to what attention reads, in one pass: queries turned, keys turned and appended, values
appended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from graphwright.backends.tvm.emit.attention import rotary_tables
from graphwright.backends.tvm.emit.emitter import Emitter, row_count
from graphwright.backends.tvm.emit.fusions.fusion import Fusion, is_single, splits_rows, start_column
from graphwright.backends.tvm.kernels.rotary_append import Packed, rotary_append
from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dims import Dim
from graphwright.ir.graph import Op, Value
from graphwright.ir.types import StateType

ONE = Dim.of(1)


@dataclass(frozen=True)
class _Path:
    """What becomes of one result of the split: `heads` cuts it into heads, `rope` may turn it, `append` may keep it."""

    columns: Value
    heads: Op
    rope: Op | None
    append: Op | None

    @property
    def result(self) -> Value:
        return next(op.result for op in (self.append, self.rope, self.heads) if op is not None)

    @property
    def kept(self) -> Op:
        """The append, which the caller knows to be there."""
        assert self.append is not None, "queries are not kept"
        return self.append

    @property
    def members(self) -> list[Op]:
        return [op for op in (self.heads, self.rope, self.append) if op is not None]

    @property
    def head_count(self) -> int:
        return self.heads.result.type.shape[1].evaluate({})

    @property
    def head_size(self) -> int:
        return self.heads.result.type.shape[3].evaluate({})

    @property
    def turning(self) -> tuple[object, ...] | None:
        """How it is turned: by which positions, frequencies and attributes."""
        return None if self.rope is None else (*self.rope.inputs[1:], *sorted(self.rope.attributes.items()))


def attention_input(op: Op) -> Fusion | None:
    """`split`, which is given → `split_heads` → `rope` of queries and keys, if any → `kv_append` of keys and values."""
    if not splits_rows(op) or op.inputs[0].type.rank != 3:
        return None
    found = [path for path in map(_path, op.results) if path is not None]
    queries = [path for path in found if path.append is None]
    kept = sorted((path for path in found if path.append is not None), key=lambda path: path.rope is None)
    if len(queries) != 1 or len(kept) != 2:
        return None
    (query,), (key, value) = queries, kept
    paths = (query, key, value)
    if not _agree(*paths):
        return None
    return Fusion(
        tuple(member for path in paths for member in path.members),
        tuple(path.result for path in paths),
        lambda e: _write(e, op, *paths),
        columns=tuple(path.columns for path in paths),
    )


def _path(columns: Value) -> _Path | None:
    heads = _only_user(columns, ops.split_heads)
    if heads is None:
        return None
    rope = _only_user(heads.result, ops.rope)
    append = _only_user(heads.result if rope is None else rope.result, ops.kv_append)
    return _Path(columns, heads, rope, append)


def _only_user(value: Value, definition: OpDef) -> Op | None:
    """The op that reads the value, if it is the only one and of that kind."""
    users = value.users
    return users[0] if len(users) == 1 and users[0].definition is definition else None


def _agree(query: _Path, key: _Path, value: _Path) -> bool:
    """Whether one pass can take all three: queries and keys turned alike, keys and values appended alike."""
    caches = [append.required("cache") for append in (key.kept, value.kept)]
    kinds = [(cache.type.layout, cache.type.shape[:3]) for cache in caches if isinstance(cache.type, StateType)]
    return (
        is_single(query.columns, *caches)
        and value.rope is None
        and query.turning == key.turning
        and query.head_size == key.head_size
        and caches[0] is not caches[1]
        and kinds[0] == kinds[1]
        and all(key.kept.operand(n) is value.kept.operand(n) for n in ("past_length", "new_length"))
    )


def _write(e: Emitter, split: Op, query: _Path, key: _Path, value: _Path) -> None:
    packed = split.inputs[0]
    batch, sequence, columns = packed.type.shape
    tables: tuple[Any, ...] = ()
    pairs, interleaved, shared = 0, False, False
    if query.rope is not None:
        positions, frequencies = query.rope.required("positions"), query.rope.required("frequencies")
        scale = query.rope.attributes["scale"]
        assert isinstance(scale, float)
        tables = rotary_tables(e, positions, frequencies, scale)
        pairs, interleaved = frequencies.type.shape[0].evaluate({}), query.rope.attributes["interleaved"]
        shared = positions.type.shape[0] is ONE and batch is not ONE
    caches = [append.required("cache") for append in (key.kept, value.kept)]
    assert isinstance(caches[0].type, StateType)
    ring = caches[0].type.layout == "ring"
    counts = [e.value(v) for v in (key.kept.operand(n) for n in ("past_length", "new_length")) if v is not None]
    before = [e.value(packed), *tables, *counts]
    keys, values, turned = e.kernel(
        rotary_append,
        [*before, *(e.copied(e.value(c)) if ring else e.value(c) for c in caches)],
        [*(e.type(c.tensor) for c in caches), e.type(query.result.tensor)],
        in_place=[len(before), len(before) + 1, -1],
        tokens=row_count((batch, sequence, ONE)),
        packed=Packed(columns.evaluate({}), *(start_column(split, path.columns) for path in (query, key, value))),
        heads=query.head_count,
        kv_heads=key.head_count,
        head_size=key.head_size,
        value_size=value.head_size,
        pairs=pairs,
        interleaved=interleaved,
        shared=shared,
        ring=ring,
    )
    for path, made in ((query, turned), (key, keys), (value, values)):
        e.bind(path.result, made)
