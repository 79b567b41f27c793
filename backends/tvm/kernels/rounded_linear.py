"""Products of tokens rounded to int8 with weights of 4 or 8 bits: integers within a span, floats across spans."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import gcd
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.codes import (
    PAIRS,
    PackedTensors,
    add_products,
    added_pairs,
    adds_pairs,
    integer_lanes,
    load_scales,
    pair_products,
    unpacked,
)
from graphwright.backends.tvm.kernels.rounding import RoundedTokens, round_tokens
from graphwright.backends.tvm.kernels.script import (
    iteration,
    lanes,
    local,
    prim_func,
    root,
    spread,
    store,
    tensor,
    unrolled,
    variable,
)
from graphwright.backends.tvm.kernels.tiles import BlockOutput, RowTiles, Spans
from graphwright.backends.tvm.tvm_library import T, builder
from graphwright.ir.dialects.cpu.packed_weights import LANES, STEP_BYTES, PackedWeight


def rounded_linear(
    cpu: Cpu,
    *,
    settings: Settings,
    tokens: int | None,
    weight: PackedWeight,
    rounding: int,
    bias: bool,
) -> Any:
    """y = fake_quantize(x, to=i8, group=rounding) @ weight.T + bias.

    Parameters: x f32[tokens, inner]; the arrays of `PackedTensors`; bias f32[outer] if `bias`; y f32[tokens, outer].
    Products of codes are exact, as is the rounding of x.
    """
    spans = Spans(weight, rounding)

    def rounded_linear() -> None:
        count = variable("tokens") if tokens is None else tokens
        x = tensor("x", (count, weight.inner), "float32")
        packed = PackedTensors.parameters(weight)
        added = tensor("bias", (weight.outer,), "float32") if bias else None
        y = tensor("y", (count, weight.outer), "float32")
        with root():
            output = BlockOutput(y, added, weight.outer, integer_lanes(cpu))
            tiles = RowTiles(settings["tile_rows" if tokens is None else "rows"])
            rounded = round_tokens(x, count, tiles.padded_rows(count), spans, settings["long"])
            product = _Product(cpu, settings, spans, rounded, packed, output, tiles, tokens == 1)
            product.stage(count)

    return prim_func(rounded_linear)


FIRST_LEVEL = 3
"""The nearest cache, as `llvm.prefetch` counts."""


def streams(settings: Settings, weight: PackedWeight, *, alone: bool) -> int:
    """Blocks that are multiplied together: several for a token that is known to be alone.

    A core that reads from one place onwards leaves part of the memory's bandwidth unused. Products of several tokens
    take longer than reading from one place does, as long as what comes next is asked for ahead of them.
    """
    wanted = settings["streams"] if alone else 1
    return next(count for count in range(wanted, 0, -1) if weight.blocks % count == 0)


@dataclass(frozen=True)
class _Product:
    cpu: Cpu
    settings: Settings
    spans: Spans
    rounded: RoundedTokens
    packed: PackedTensors
    output: BlockOutput
    tiles: RowTiles
    alone: bool
    """Whether one token is multiplied, and known to be alone."""

    @property
    def weight(self) -> PackedWeight:
        return self.spans.weight

    def stage(self, tokens: Any) -> None:
        """One iteration is a block of the matrix, or some that are far from each other, with all tokens."""
        blocks = streams(self.settings, self.weight, alone=self.alone)
        extent = self.weight.blocks // blocks
        reads = [self.rounded.words, self.rounded.scales, self.rounded.sums, *self.packed.buffers]
        reads += [] if self.output.bias is None else [self.output.bias]
        with iteration("multiply", builder.parallel(extent), extent, reads, [self.output.y]) as number:

            def tile(rows: int, first_row: Any) -> None:
                self.tile(rows, first_row, [number + b * extent for b in range(blocks)], tokens)

            self.tiles.each(tokens, tile)

    def tile(self, rows: int, first_row: Any, blocks: list[Any], tokens: Any) -> None:
        """y of some rows and some blocks."""
        totals = [local("totals", (rows, LANES), "float32") for _ in blocks]
        sums = [local("sums", (rows, LANES), "int32") for _ in blocks]
        current = local("current", (len(blocks), 8 // self.weight.bits, STEP_BYTES), "uint8")
        tile = _Tile(self, rows, first_row, blocks, totals, sums, current)
        with unrolled(rows) as r:
            for total, place in itertools.product(totals, tile.places):
                store(total, spread(T.float32(0), place.lanes), r, place)
        tile.each_span()
        self.output.write(totals, first_row, blocks, tokens)


@dataclass(frozen=True)
class _Tile:
    """Registers of a product of some rows with some blocks."""

    product: _Product
    rows: int
    first_row: Any
    blocks: list[Any]
    totals: list[Any]
    sums: list[Any]
    current: Any
    """The codes of a step, one a byte."""

    @property
    def width(self) -> int:
        return integer_lanes(self.product.cpu)

    @property
    def places(self) -> list[Any]:
        """The lanes of a block that share a register, as indices."""
        return [lanes(begin, self.width) for begin in range(0, LANES, self.width)]

    def each_span(self) -> None:
        """Adds the products of all spans to the totals."""
        spans, most = self.product.spans, self.product.settings["unrolled"]
        whole, rest = divmod(self.product.weight.steps, spans.steps)
        together = next(steps for steps in range(most, 0, -1) if gcd(spans.steps, rest) % steps == 0)
        if rest and 2 * together >= min(most, spans.steps):
            # Code of its own for the last span would be as much again, for little.
            parts, all_parts = spans.steps // together, self.product.weight.steps // together
            with builder.serial(spans.count) as span:
                self._span(span, T.min(parts, all_parts - span * parts), together, 0)
            return
        if whole:
            with builder.serial(whole) as span:
                self._span(span, *self._parts(spans.steps))
        if rest:
            self._span(whole, *self._parts(rest))

    def _parts(self, steps: int) -> tuple[int, int, int]:
        together = self.product.settings["unrolled"]
        return steps // together, together, steps % together

    def _span(self, span: Any, parts: Any, together: int, rest: int) -> None:
        """Adds the products of a span: so many parts of some steps together, and the rest of the steps."""
        product, spans = self.product, self.product.spans
        with unrolled(self.rows) as r:
            start = product.rounded.sums[self.first_row + r, span]
            for sums, place in itertools.product(self.sums, self.places):
                store(sums, spread(T.int32(0) if product.weight.has_offsets else start, self.width), r, place)
        begin = span * spans.steps
        if not isinstance(parts, int) or parts:
            with builder.serial(parts) as part:
                self._steps(begin + part * together, together)
        if rest:
            self._steps(begin + parts * together, rest)
        group = T.floordiv(span, spans.spans_a_weight_group)
        token_group = T.floordiv(span, spans.spans_a_token_group)
        with unrolled(self.rows) as r:
            for b, place in itertools.product(range(len(self.blocks)), self.places):
                self._add(r, b, place, span, group, token_group)

    def _add(self, r: Any, b: int, place: Any, span: Any, group: Any, token_group: Any) -> None:
        product, row, block = self.product, self.first_row + r, self.blocks[b]
        value = self.sums[b][r, place]
        packed, code_sum = product.packed, product.rounded.sums[row, span]
        if packed.zero_points is not None:
            zero = T.Cast(f"int32x{self.width}", packed.zero_points[block, group, place])
            value = value - zero * spread(code_sum, self.width)
        scale = load_scales(product.cpu, product.weight, packed.scales, block, group, place)
        token_scale, totals = product.rounded.scales[row, token_group], self.totals[b]
        factor = scale * spread(token_scale, self.width)
        total = totals[r, place] + T.Cast(f"float32x{self.width}", value) * factor
        if packed.minimums is not None:
            minimum = load_scales(product.cpu, product.weight, packed.minimums, block, group, place)
            total = total + minimum * spread(T.Cast("float32", code_sum) * token_scale, self.width)
        store(totals, total, r, place)

    def _ask_ahead(self, step: Any) -> None:
        """Asks for the codes that come some time after this step's, perhaps in the block that is next in memory."""
        steps = self.product.settings["ahead"] // STEP_BYTES
        if self.product.alone or not steps:
            return
        for block in self.blocks:
            codes = T.address_of(self.product.packed.codes[block, step + steps, 0])
            builder.evaluate(T.call_llvm_intrin("void", "llvm.prefetch", codes, 0, FIRST_LEVEL, 1))

    def _steps(self, begin: Any, count: int) -> None:
        product, weight = self.product, self.product.weight
        halves = 8 // weight.bits
        if adds_pairs(product.cpu, weight.bits):
            for first in range(0, count, PAIRS // halves):
                self._steps_by_pairs(begin + first, min(count - first, PAIRS // halves))
            return

        def in_bytes(place: Any) -> Any:
            return lanes(4 * place.base, 4 * self.width)

        with unrolled(count) as step:
            self._ask_ahead(begin + step)
            for b, place in itertools.product(range(len(self.blocks)), self.places):
                codes = product.packed.codes[self.blocks[b], begin + step, in_bytes(place)]
                for half, each in enumerate(unpacked(codes, weight.bits, self.width)):
                    store(self.current, each, b, half, in_bytes(place))
            with unrolled(self.rows) as r, unrolled(halves) as half:
                word = product.rounded.words[self.first_row + r, (begin + step) * halves + half]
                for b, place in itertools.product(range(len(self.blocks)), self.places):
                    sums, codes = self.sums[b], self.current[b, half, in_bytes(place)]
                    store(sums, add_products(product.cpu, sums[r, place], codes, word, weight.bits), r, place)

    def _steps_by_pairs(self, begin: Any, count: int) -> None:
        """As `_steps`, for so few that 16 bits hold the sums of pairs."""
        product, weight = self.product, self.product.weight
        with unrolled(count) as step:
            self._ask_ahead(begin + step)
        for b, block in enumerate(self.blocks):
            pairs = local("pairs", (self.rows, 2 * LANES), "int16")
            zeros = spread(T.int16(0), 2 * self.width)
            with unrolled(self.rows) as r:
                for place in self.places:
                    store(pairs, zeros, r, lanes(2 * place.base, 2 * self.width))
            with unrolled(count) as step:
                for place in self.places:
                    in_bytes = lanes(4 * place.base, 4 * self.width)
                    codes = product.packed.codes[block, begin + step, in_bytes]
                    for half, each in enumerate(unpacked(codes, weight.bits, self.width)):
                        store(self.current, each, b, half, in_bytes)
                with unrolled(self.rows) as r, unrolled(8 // weight.bits) as half:
                    word = product.rounded.words[self.first_row + r, (begin + step) * (8 // weight.bits) + half]
                    for place in self.places:
                        codes = self.current[b, half, lanes(4 * place.base, 4 * self.width)]
                        in_pairs = lanes(2 * place.base, 2 * self.width)
                        store(pairs, pairs[r, in_pairs] + pair_products(codes, word), r, in_pairs)
            with unrolled(self.rows) as r:
                for place in self.places:
                    total = self.sums[b][r, place] + added_pairs(pairs[r, lanes(2 * place.base, 2 * self.width)])
                    store(self.sums[b], total, r, place)
