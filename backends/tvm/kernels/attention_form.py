"""What an attention kernel is made for: the op's attributes, which operands there are, and the sizes of its tiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.tir import lanes_within
from graphwright.ir.ops.attention import Mask

BYTES = 3
"""Of a query's number, where keys are codes."""
Numbers = Literal["float32", "float16"]
Share = Literal["tensor", "channel", "token"]
"""What one scale of a cache of codes is for: f32 [1], [kv heads, size], or [B, kv heads, C]."""


Bits = Literal[8, 4]
CODES: dict[Bits, str] = {8: "int8", 4: "uint8"}
"""The types of the elements of caches of codes."""
NIBBLE_OFFSET = 8
"""What is added to a code of 4 bits."""


@dataclass(frozen=True)
class AttentionForm:
    """The IR's `attention` with q [B, heads, S, head size] and k, v [B, kv heads, C, size] of numbers or int8 codes.

    Of codes of 4 bits two are in a byte, [B, kv heads, C, size / 2] of uint8: code + 8 of an element of the first half
    in the lower four bits, that of the second half above it.

    Operands of a kernel, in this order, those in brackets if the form has them:
    q f32, k, v, positions i64 [B, S] ([1, S] if `shared_positions`), [key_length i64 [B]], [bias], [sinks f32 [heads]],
    [key_positions i64 [B, C], or [1, C] if `shared_key_positions`], [key_scale], [value_scale], y.
    bias is f32 or bool [B, heads, S, C], any axis of it 1. y is f32 [B, S, heads * size of v] if `merged`, else
    [B, heads, S, size of v].
    """

    heads: int
    kv_heads: int
    head_size: int
    value_size: int
    scale: float
    mask: Mask
    window: int = 0
    softcap: float = 0.0
    key_length: bool = False
    bias: Literal["float32", "bool"] | None = None
    bias_ones: tuple[bool, bool, bool, bool] = (False, False, False, False)
    """Which axes of the bias are 1."""
    sinks: bool = False
    key_positions: bool = False
    shared_positions: bool = False
    shared_key_positions: bool = False
    key_scale: Share | None = None
    value_scale: Share | None = None
    """Whether keys, or values, are codes, and what their scales are for."""
    key_bits: Bits = 8
    value_bits: Bits = 8
    """Of a code."""
    key_numbers: Numbers = "float32"
    value_numbers: Numbers = "float32"
    """What keys, or values, are that are no codes."""
    merged: bool = True
    ring: int = 0
    """How many keys, the first, are a ring in which position p lies at p % ring; those of the queries follow it."""

    @property
    def group(self) -> int:
        """Query heads of one key head."""
        return self.heads // self.kv_heads

    @property
    def key_type(self) -> str:
        """The type of an element of the keys' cache."""
        return self.key_numbers if self.key_scale is None else CODES[self.key_bits]

    @property
    def key_offset(self) -> int:
        """What makes codes of keys numbers without a sign."""
        return 128 if self.key_bits == 8 else NIBBLE_OFFSET

    @property
    def packed_keys(self) -> bool:
        """Whether two codes of a key are in a byte."""
        return self.key_type == "uint8"

    @property
    def packed_values(self) -> bool:
        return self.value_type == "uint8"

    @property
    def value_type(self) -> str:
        """The type of an element of the values' cache."""
        return self.value_numbers if self.value_scale is None else CODES[self.value_bits]


@dataclass(frozen=True)
class Tiling:
    """How `queries` queries of all heads of a group meet a block of keys.

    Row r of an item is query r // group of head r % group; rows fill up whole tiles.
    """

    cpu: Cpu
    settings: Settings
    form: AttentionForm
    queries: int
    streams: bool = False
    """Whether each block of keys is read once."""

    @cached_property
    def lanes(self) -> int:
        """Keys in a vector of scores."""
        return self.cpu.float_lanes

    @property
    def rows(self) -> int:
        return self.queries * self.form.group

    @cached_property
    def tile_rows(self) -> int:
        """Rows whose sums are in registers at once: as many as leave the fewest of the last tile empty.

        A third more than is asked for share a tile too, if they are all: keys and values are read once for them.
        """
        most = self.settings["tile_rows"]
        if self.in_lanes:
            return self.form.group
        if self.rows <= most + most // 3:
            return self.rows
        return min(range(most, most // 2, -1), key=lambda size: -(-self.rows // size) * size)

    @property
    def row_tiles(self) -> int:
        return -(-self.rows // self.tile_rows)

    @property
    def padded_rows(self) -> int:
        return self.row_tiles * self.tile_rows

    @cached_property
    def tile_vectors(self) -> int:
        """Vectors of scores of each of those rows."""
        vectors = self.settings["tile_vectors"]
        return vectors if self.tile_rows <= self.settings["tile_rows"] else max(1, vectors // 2)

    @property
    def by_bytes(self) -> bool:
        """Whether scores are sums of products of bytes; int32 holds those of so many."""
        fits = self.form.head_size % 4 == 0 and self.form.head_size <= 256
        return self.form.key_scale is not None and self.cpu.has_vnni and fits

    @property
    def turned_rows(self) -> int:
        """Rows of a block of keys that is turned: an element each, or a word of four codes."""
        return self.form.head_size // 4 if self.by_bytes else self.form.head_size

    @cached_property
    def keys(self) -> int:
        """Keys of a block: they stay in the nearest cache, turned, while all rows meet them.

        As many whatever the rows: sums go by block.
        """
        held = self.settings["key_numbers"] // self.form.head_size // self.lanes * self.lanes
        return max(self.settings["tile_vectors"] * self.lanes, min(self.settings["keys"], held))

    @cached_property
    def lane_rows(self) -> int:
        """Lanes for the heads of a group that lie side by side in a vector: a power of two."""
        return 1 << (self.form.group - 1).bit_length()

    @cached_property
    def parts(self) -> int:
        """Into how many sums the products of a score are dealt, element by element, which are added up in the end.

        As many for every number of queries, and 1 where heads never lie side by side.
        """
        parts = self.lanes // self.lane_rows
        return parts if self.form.group > 2 and parts and self.form.head_size % parts == 0 else 1

    @property
    def in_lanes(self) -> bool:
        """Whether the heads of a group lie side by side in a vector, for keys that are read as they lie."""
        form = self.form
        plain = not form.ring and not form.key_positions and form.bias is None and form.key_scale != "token"
        fits = form.group > 2 and self.lane_rows <= self.lanes
        step = self.lanes // self.lane_rows * (4 if self.by_bytes else 1) if fits else 1
        return self.streams and plain and fits and form.head_size % step == 0

    @property
    def lane_keys(self) -> int:
        """Keys in a vector of scores of which each has the heads of a group in lanes."""
        return self.lanes // self.lane_rows

    @property
    def lane_steps(self) -> int:
        """Steps through the elements of a key, or words of its codes, of which so many are read at once."""
        return self.turned_rows // self.lane_keys

    @property
    def key_lanes(self) -> int:
        """Elements of a key that are made floats at once."""
        return lanes_within(self.cpu, self.form.head_size // (2 if self.form.packed_keys else 1))

    @property
    def key_bytes(self) -> int:
        """Of a key of codes."""
        return self.form.head_size // (2 if self.form.packed_keys else 1)

    @property
    def code_lanes(self) -> int:
        """Bytes of codes of a key that are taken at once."""
        return next(n for n in (64, 32, 16, 8, 4, 2, 1) if self.key_bytes % n == 0)

    @property
    def values_kept(self) -> bool:
        """Whether a block's values become floats before they are weighed: where several tiles of rows read them."""
        return self.form.value_type != "float32" and self.row_tiles > 1

    @cached_property
    def value_lanes(self) -> int:
        return lanes_within(self.cpu, self.form.value_size // (2 if self.form.packed_values else 1))

    @cached_property
    def value_vectors(self) -> int:
        """Vectors of a value that are summed at once for each row of a tile."""
        vectors = self.form.value_size // self.value_lanes
        most = self.settings["value_vectors"] // self.tile_rows
        return next(n for n in range(min(most, vectors), 0, -1) if vectors % n == 0)
