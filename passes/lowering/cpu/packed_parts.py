"""What becomes of each part of a packed projection's rows: cut into heads, turned, rounded, kept in a cache."""

from __future__ import annotations

from dataclasses import dataclass

from graphwright.ir import ops
from graphwright.ir.declare import OpDef
from graphwright.ir.dialects.cpu.packed_caches import quantize_packed
from graphwright.ir.graph import Op, Value
from graphwright.ir.ops.codes import SMALLEST_SCALE
from graphwright.ir.program import Program
from graphwright.ir.rewriting.matcher import Matcher
from graphwright.ir.rewriting.pattern import Capture, OpPattern
from graphwright.ir.rounding import Grid
from graphwright.ir.types import DType


@dataclass(frozen=True)
class Part:
    """One result of the split. `heads` cuts it into heads; others are there if it is turned, rounded and kept.

    `token_scale` are the ops that find a scale for each token, `scale_appends` keep it.
    """

    columns: Value
    heads: Op
    rope: Op | None = None
    rounding: Op | None = None
    append: Op | None = None
    token_scale: tuple[Op, ...] = ()
    scale_appends: tuple[Op, ...] = ()

    @property
    def result(self) -> Value:
        return next(op.result for op in (self.append, self.rope, self.heads) if op is not None)

    @property
    def kept(self) -> Op:
        """The append, which the caller knows to be there."""
        assert self.append is not None, "queries are not kept"
        return self.append

    @property
    def scale_append(self) -> Op:
        """The append of scales, which the caller knows to be there."""
        (append,) = self.scale_appends
        return append

    @property
    def halved(self) -> bool:
        """Whether rounding is to f16, which has no scale."""
        return self.rounding is not None and self.rounding.definition is ops.cast

    @property
    def scale(self) -> Value | None:
        """What `cpu.rotary_append` takes as the scale: one that was fitted, or the cache of those of the tokens."""
        if self.scale_appends:
            return self.scale_append.required("cache")
        return None if self.rounding is None or self.halved else self.rounding.required("scale")

    @property
    def scale_results(self) -> list[Value]:
        return [append.result for append in self.scale_appends]

    @property
    def members(self) -> list[Op]:
        single = [op for op in (self.heads, self.rope, self.rounding, self.append) if op is not None]
        return [*single, *self.token_scale, *self.scale_appends]

    @property
    def readers(self) -> list[str]:
        """The names of the ops that go on with it."""
        return [op.name for op in self.result.users]

    @property
    def head_count(self) -> int:
        return self.heads.result.type.shape[1].evaluate({})

    @property
    def head_size(self) -> int:
        return self.heads.result.type.shape[3].evaluate({})

    @property
    def turning(self) -> tuple[object, ...] | None:
        """How it is turned: by which tables and attributes."""
        return None if self.rope is None else (*self.rope.inputs[1:], *sorted(self.rope.attributes.items()))


def parts_of(split: Op, program: Program, turning: OpDef, halves: bool) -> list[Part]:
    """The results of a split that are cut into heads, and nothing else.

    `turning` is the op of rotary embedding; with `halves` the cast of float32 to f16 is a rounding too.
    """
    matcher = Matcher(program)
    cut = ((v, _only_user(v, ops.split_heads)) for v in split.results)
    return [_part(columns, heads, matcher, turning, halves) for columns, heads in cut if heads is not None]


def _part(columns: Value, heads: Op, matcher: Matcher, turning: OpDef, halves: bool) -> Part:
    rope = _only_user(heads.result, turning)
    new = heads.result if rope is None else rope.result
    append = _only_user(new, ops.kv_append)
    if append is not None:
        return Part(columns, heads, rope, append=append)
    cast = _only_user(new, ops.cast) if halves and new.tensor.dtype is DType.F32 else None
    if cast is not None and cast.result.tensor.dtype is DType.F16:
        append = _only_user(cast.result, ops.kv_append)
        return Part(columns, heads, rope, None if append is None else cast, append)
    rounding = next((op for op in new.users if op.definition in (ops.quantize_tensor, quantize_packed)), None)
    append = None if rounding is None else _only_user(rounding.result, ops.kv_append)
    if rounding is None or append is None:
        return Part(columns, heads, rope)
    codes = DType.I4 if rounding.definition is quantize_packed else DType.I8
    token_scale = _token_scale(new, rounding.required("scale"), codes, matcher)
    if not token_scale:
        return Part(columns, heads, rope, rounding, append)
    keeps = [op for op in rounding.required("scale").users if op.definition is ops.kv_append]
    if len(keeps) != 1:
        return Part(columns, heads, rope)
    return Part(columns, heads, rope, rounding, append, token_scale, (keeps[0],))


def _only_user(value: Value, definition: OpDef) -> Op | None:
    """The op that reads the value, if it is the only one and of that kind."""
    users = value.users
    return users[0] if len(users) == 1 and users[0].definition is definition else None


def _pattern(codes: DType, *, cast: bool) -> OpPattern:
    x = Capture("x")
    largest = ops.amax(ops.abs(x), axes=(3,), keepdims=True)
    if cast:
        largest = ops.cast(largest, dtype=DType.F32)
    pattern = ops.maximum(ops.mul(largest, 1 / Grid(codes).most), SMALLEST_SCALE)
    assert isinstance(pattern, OpPattern)
    return pattern


TOKEN_SCALES = {codes: (_pattern(codes, cast=False), _pattern(codes, cast=True)) for codes in (DType.I8, DType.I4)}
"""The scale of each token of x by its largest number, as `quantize-cache` writes it: of float32, and of other types."""


def _token_scale(x: Value, scale: Value, codes: DType, matcher: Matcher) -> tuple[Op, ...]:
    """The ops that find a scale for each token of x; none if the scale is another one."""
    root = scale.defined_by(ops.maximum)
    if root is None:
        return ()
    found = (matcher.match(pattern, root) for pattern in TOKEN_SCALES[codes])
    return next((match.ops for match in found if match is not None and match["x"] is x), ())
