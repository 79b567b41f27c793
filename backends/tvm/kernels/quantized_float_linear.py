"""Products of float tokens with weights of 4 or 8 bits: codes become floats in registers, tokens stay as they are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.block_output import BlockOutput
from graphwright.backends.tvm.kernels.code_numbers import code_numbers, float_lanes
from graphwright.backends.tvm.kernels.float_scales import load_scales
from graphwright.backends.tvm.kernels.row_tiles import few_rows, many_rows
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
from graphwright.backends.tvm.tvm_library import T, builder
from graphwright.ir.dialects.cpu.packed_weights import LANES, PackedWeight

CHAINS = 2
"""Sums that are added to in turn: a processor starts the next addition before the last one has ended. They are as many
for every number of tokens, since each token's order of additions must not depend on the others."""

SUMS = 8
"""Vectors of sums that are kept in registers; where there are more, one chain is gone through after the other."""

UNROLLED = 4
"""Steps that are spelt out one after another."""


def quantized_float_linear(cpu: Cpu, *, tokens: int | None, weight: PackedWeight, bias: bool) -> Any:
    """y = x @ weight.T + bias, in float32.

    Parameters: x f32[tokens, inner]; codes, scales and, if the weight has them, zero points, as `PackedWeight` says;
    bias f32[outer] if `bias`; y f32[tokens, outer].
    """

    def quantized_float_linear() -> None:
        count = variable("tokens") if tokens is None else tokens
        x = tensor("x", (count, weight.inner), "float32")
        codes = tensor("codes", weight.codes_shape, "uint8")
        scales = tensor("scales", weight.scales_shape, "uint8")
        zero_points = tensor("zero_points", weight.zero_points_shape, "uint8") if weight.zero_points else None
        added = tensor("bias", (weight.outer,), "float32") if bias else None
        y = tensor("y", (count, weight.outer), "float32")
        output = BlockOutput(y, added, weight.outer, float_lanes(cpu))
        reads = [each for each in (x, codes, scales, zero_points, added) if each is not None]
        with root(), iteration("multiply", builder.parallel(weight.blocks), weight.blocks, reads, [y]) as block:

            def tile(rows: int, first_row: Any) -> None:
                last = None if rows in (1, count) else count - 1
                _Tile(cpu, weight, x, codes, scales, zero_points, rows, first_row, last, block).emit(output, count)

            few_rows(count, lambda rows: tile(rows, 0))
            many_rows(count, tile)

    return prim_func(quantized_float_linear)


@dataclass(frozen=True)
class _Tile:
    """The product of some rows with a block."""

    cpu: Cpu
    weight: PackedWeight
    x: Any
    codes: Any
    scales: Any
    zero_points: Any | None
    rows: int
    first_row: Any
    last_row: Any | None
    """The last that there is, where the tile may reach past it."""
    block: Any

    def emit(self, output: BlockOutput, tokens: Any) -> None:
        width = float_lanes(self.cpu)
        totals = local("totals", (self.rows, LANES), "float32")
        # A buffer each: TVM keeps less than 1 KiB on the stack.
        sums = [local("sums", (self.rows, LANES), "float32") for _ in range(CHAINS)]
        numbers = local("numbers", (LANES,), "float32")
        zeros = local("zeros", (LANES,), "float32")
        places = [lanes(begin, width) for begin in range(0, LANES, width)]
        with unrolled(self.rows) as r:
            for place in places:
                store(totals, spread(T.float32(0), width), r, place)

        def group(number: Any, length: int) -> None:
            with unrolled(self.rows) as r:
                for chain, place in itertools.product(sums, places):
                    store(chain, spread(T.float32(0), width), r, place)
            for place in places if self.zero_points is not None else ():
                store(zeros, self._zeros(number, place), place)
            if self.rows * CHAINS * len(places) <= SUMS * self.cpu.float_lanes // 8:
                self._steps(number, length, sums, numbers, zeros, places, range(CHAINS))
            else:
                for chain in range(CHAINS):
                    self._steps(number, length, sums, numbers, zeros, places, [chain])
            with unrolled(self.rows) as r:
                for place in places:
                    scale = load_scales(self.cpu, self.weight, self.scales, self.block, number, place)
                    total = reduce(add, [chain[r, place] for chain in sums])
                    store(totals, totals[r, place] + total * scale, r, place)

        length = self.weight.group or self.weight.inner
        whole, rest = divmod(self.weight.inner, length)
        if whole:
            with builder.serial(whole) as number:
                group(number, length)
        if rest:
            group(whole, rest)
        output.write([totals], self.first_row, [self.block], tokens)

    def _zeros(self, group: Any, place: Any) -> Any:
        assert self.zero_points is not None
        count = int(place.lanes)
        zero = T.Cast(f"int32x{count}", self.zero_points[self.block, group, place])
        return T.Cast(f"float32x{count}", zero - spread(self.weight.middle, count))

    def _steps(
        self,
        group: Any,
        length: int,
        sums: list[Any],
        numbers: Any,
        zeros: Any,
        places: list[Any],
        chains: Sequence[int],
    ) -> None:
        """Adds the products of `length` numbers, from the group's first on, as far as they belong to these chains."""
        begin = group * (self.weight.group // self.weight.step)

        def step(number: Any, count: int) -> None:
            for k in range(count):
                chain = k % CHAINS
                if chain not in chains:
                    continue
                for place in places:
                    stored = self.codes[self.block, number, lanes(4 * place.base, 4 * place.lanes)]
                    words = T.reinterpret(f"uint32x{place.lanes}", stored)
                    zero = None if self.zero_points is None else zeros[place]
                    store(numbers, code_numbers(self.cpu, self.weight, words, k, zero), place)
                with unrolled(self.rows) as r:
                    token = self.x[self._row(r), number * self.weight.step + k]
                    for place in places:
                        value = sums[chain][r, place] + numbers[place] * spread(token, place.lanes)
                        store(sums[chain], value, r, place)

        steps, rest = divmod(length, self.weight.step)
        parts, single = divmod(steps, UNROLLED)
        if parts:
            with builder.serial(parts) as part, unrolled(UNROLLED) as number:
                step(begin + part * UNROLLED + number, self.weight.step)
        if single:
            with unrolled(single) as number:
                step(begin + parts * UNROLLED + number, self.weight.step)
        if rest:
            step(begin + steps, rest)

    def _row(self, r: Any) -> Any:
        row = self.first_row + r
        return row if self.last_row is None else T.min(row, self.last_row)
