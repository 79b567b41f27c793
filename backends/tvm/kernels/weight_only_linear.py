"""Products of float tokens with weights of 4 or 8 bits: codes become floats in registers, tokens stay as they are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.codes import PackedTensors, code_numbers, each_group, float_lanes, load_scales
from graphwright.backends.tvm.kernels.rounding import fold_lanes
from graphwright.backends.tvm.kernels.script import (
    iteration,
    lanes,
    local,
    prim_func,
    root,
    shared,
    spread,
    store,
    tensor,
    unrolled,
    variable,
)
from graphwright.backends.tvm.kernels.tiles import BlockOutput, RowTiles
from graphwright.backends.tvm.tvm_library import T, builder
from graphwright.ir.dialects.cpu.packed_weights import LANES, PackedWeight


def weight_only_linear(cpu: Cpu, *, settings: Settings, tokens: int | None, weight: PackedWeight, bias: bool) -> Any:
    """y = x @ weight.T + bias, in float32.

    Parameters: x f32[tokens, inner]; the arrays of `PackedTensors`; bias f32[outer] if `bias`; y f32[tokens, outer].
    """

    def weight_only_linear() -> None:
        count = variable("tokens") if tokens is None else tokens
        x = tensor("x", (count, weight.inner), "float32")
        packed = PackedTensors.parameters(weight)
        added = tensor("bias", (weight.outer,), "float32") if bias else None
        y = tensor("y", (count, weight.outer), "float32")
        output = BlockOutput(y, added, weight.outer, float_lanes(cpu))
        with root():
            sums = _group_sums(cpu, x, count, weight) if weight.minimums else None
            reads = [x, *packed.buffers, *(each for each in (sums, added) if each is not None)]
            with iteration("multiply", builder.parallel(weight.blocks), weight.blocks, reads, [y]) as block:

                def tile(rows: int, first_row: Any) -> None:
                    last = None if rows == 1 or isinstance(count, int) else count - 1
                    _Tile(cpu, settings, packed, x, sums, rows, first_row, last, block).emit(output, count)

                RowTiles(settings["rows"]).each(count, tile)

    return prim_func(weight_only_linear)


def block_products(
    cpu: Cpu, settings: Settings, packed: PackedTensors, x: Any, rows: int, first_row: Any, block: Any
) -> Any:
    """Products of some rows of x, which are all there, with a block of a weight without minimums: f32[rows, 16], on the
    stack."""
    assert not packed.weight.minimums, "their sums of groups are a stage of its own"
    return _Tile(cpu, settings, packed, x, None, rows, first_row, None, block).products()


def _group_sums(cpu: Cpu, x: Any, count: Any, weight: PackedWeight) -> Any:
    """The stage that adds up each group of each token, once for all rows of the weight: f32[tokens, groups]."""
    sums = shared("group_sums", (count, weight.groups), "float32")
    loop = builder.serial(count) if isinstance(count, int) and count == 1 else builder.parallel(count)
    with iteration("sum", loop, count, [x], [sums]) as token:
        width = float_lanes(cpu)
        lane_sums, every = local("lane_sums", (width,), "float32"), lanes(0, width)

        def group(number: Any, length: int) -> None:
            chunks, rest = divmod(length, width)
            begin = number * weight.group
            store(lane_sums, spread(T.float32(0), width), every)
            with builder.serial(chunks) as chunk:
                store(lane_sums, lane_sums[every] + x[token, lanes(begin + chunk * width, width)], every)
            for place in range(rest):
                store(lane_sums, lane_sums[place] + x[token, begin + chunks * width + place], place)
            fold_lanes(lane_sums, width, add)
            store(sums, lane_sums[0], token, number)

        each_group(weight, group)
    return sums


@dataclass(frozen=True)
class _Tile:
    """The product of some rows with a block.

    Sums are added to in `chains`, in turn: a processor starts the next addition before the last one has ended. They are
    as many for every number of tokens, since each token's order of additions must not depend on the others. Where their
    sums do not fit in registers, one chain is gone through after the other.
    """

    cpu: Cpu
    settings: Settings
    packed: PackedTensors
    x: Any
    sums: Any | None
    """The sums of the groups of x, where the weight has minimums."""
    rows: int
    first_row: Any
    last_row: Any | None
    """The last that there is, where the tile may reach past it."""
    block: Any

    @property
    def weight(self) -> PackedWeight:
        return self.packed.weight

    def emit(self, output: BlockOutput, tokens: Any) -> None:
        output.write([self.products()], self.first_row, [self.block], tokens)

    def products(self) -> Any:
        """The buffer f32[rows, 16] of the rows' products with the block, on the stack."""
        width, chains = float_lanes(self.cpu), self.settings["chains"]
        totals = local("totals", (self.rows, LANES), "float32")
        # A buffer each: TVM keeps less than 1 KiB on the stack.
        sums = [local("sums", (self.rows, LANES), "float32") for _ in range(chains)]
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
            for place in places if self.packed.zero_points is not None else ():
                store(zeros, self._zeros(number, place), place)
            if self.rows * chains * len(places) <= self.settings["sums"] * self.cpu.float_lanes // 8:
                self._steps(number, length, sums, numbers, zeros, places, range(chains))
            else:
                for chain in range(chains):
                    self._steps(number, length, sums, numbers, zeros, places, [chain])
            with unrolled(self.rows) as r:
                for place in places:
                    scale = load_scales(self.cpu, self.weight, self.packed.scales, self.block, number, place)
                    total = totals[r, place] + reduce(add, [chain[r, place] for chain in sums]) * scale
                    if self.packed.minimums is not None:
                        assert self.sums is not None, "made where there are minimums"
                        minimum = load_scales(self.cpu, self.weight, self.packed.minimums, self.block, number, place)
                        total = total + minimum * spread(self.sums[self._row(r), number], place.lanes)
                    store(totals, total, r, place)

        each_group(self.weight, group)
        return totals

    def _zeros(self, group: Any, place: Any) -> Any:
        assert self.packed.zero_points is not None
        count = int(place.lanes)
        zero = T.Cast(f"int32x{count}", self.packed.zero_points[self.block, group, place])
        return T.Cast(f"float32x{count}", zero - spread(self.weight.origin, count))

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
                chain = k % len(sums)
                if chain not in chains:
                    continue
                for place in places:
                    stored = self.packed.codes[self.block, number, lanes(4 * place.base, 4 * place.lanes)]
                    words = T.reinterpret(f"uint32x{place.lanes}", stored)
                    zero = None if self.packed.zero_points is None else zeros[place]
                    store(numbers, code_numbers(self.cpu, self.weight, words, k, zero), place)
                with unrolled(self.rows) as r:
                    token = self.x[self._row(r), number * self.weight.step + k]
                    for place in places:
                        value = sums[chain][r, place] + numbers[place] * spread(token, place.lanes)
                        store(sums[chain], value, r, place)

        steps, rest = divmod(length, self.weight.step)
        each = self.settings["unrolled"]
        parts, single = divmod(steps, each)
        if parts:
            with builder.serial(parts) as part, unrolled(each) as number:
                step(begin + part * each + number, self.weight.step)
        if single:
            with unrolled(single) as number:
                step(begin + parts * each + number, self.weight.step)
        if rest:
            step(begin + steps, rest)

    def _row(self, r: Any) -> Any:
        row = self.first_row + r
        return row if self.last_row is None else T.min(row, self.last_row)
