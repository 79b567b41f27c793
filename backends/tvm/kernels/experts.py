"""The IR's `moe_experts` over stored weights: those that no token chose are not read, and others once for all tokens.

One token goes through its experts side by side. Several are put in the order of their experts first; then each expert's
blocks of sixteen rows meet all of its tokens, and threads share the blocks. Either way a token's sums are added up in
one order.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.expert_form import ExpertForm
from graphwright.backends.tvm.kernels.expert_order import (
    ExpertOrder,
    Group,
    expert_of,
    order_by_expert,
    row_length,
    rows_by_expert,
)
from graphwright.backends.tvm.kernels.expert_weights import CodeStack, FloatStack, StackedWeight, Stream
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
    when,
)
from graphwright.backends.tvm.kernels.tiles import RowTiles
from graphwright.backends.tvm.library.layouts import PANEL
from graphwright.backends.tvm.tvm_library import T, builder
from graphwright.ir.dialects.cpu.packed_weights import PackedWeight

COLUMNS = 128
"""Columns of a token that are one iteration where its experts are added up."""


def experts(
    cpu: Cpu,
    *,
    settings: Settings,
    tokens: int | None,
    form: ExpertForm,
    weights: tuple[PackedWeight, PackedWeight] | str,
) -> Any:
    """(x [M, size], indices i64 [M, chosen], shares [M, chosen], the arrays of gate_up and of down, gate_up_bias
    [experts, …] and down_bias [experts, outer] if there are, y [M, outer]).

    `weights` are codes of the layout of the stacked rows of all experts, or floats of a type in panels. All others are
    float32. `inner` and `outer` are multiples of 16. An index out of range counts as the nearest in it.
    """

    def experts() -> None:
        count = variable("tokens") if tokens is None else tokens
        x = tensor("x", (count, form.size), "float32")
        indices = tensor("indices", (count, form.chosen), "int64")
        shares = tensor("shares", (count, form.chosen), "float32")
        gate_up, down = _stacks(cpu, settings, form, weights)
        gate_up_bias = tensor("gate_up_bias", (form.experts, form.height), "float32") if form.biases[0] else None
        down_bias = tensor("down_bias", (form.experts, form.outer), "float32") if form.biases[1] else None
        y = tensor("y", (count, form.outer), "float32")
        mixture = _Mixture(cpu, settings, form, indices, shares, gate_up, down, gate_up_bias, down_bias, y)
        with root():
            if tokens == 1:
                mixture.one_token(x)
            else:
                mixture.tokens(x, count)

    return prim_func(experts)


def _stacks(
    cpu: Cpu, settings: Settings, form: ExpertForm, weights: tuple[PackedWeight, PackedWeight] | str
) -> tuple[StackedWeight, StackedWeight]:
    """Adds the parameters of gate_up and down to the kernel that is written."""
    if not isinstance(weights, str):
        first, second = weights
        return CodeStack.parameter(cpu, settings, first), CodeStack.parameter(cpu, settings, second)

    def panels(name: str, rows: int, columns: int) -> FloatStack:
        return FloatStack.parameter(cpu, settings, name, form.experts * rows // PANEL, columns, weights)

    return panels("gate_up", form.height, form.size), panels("down", form.outer, form.inner)


@dataclass(frozen=True)
class _Mixture:
    cpu: Cpu
    settings: Settings
    form: ExpertForm
    indices: Any
    shares: Any
    gate_up: StackedWeight
    down: StackedWeight
    gate_up_bias: Any | None
    down_bias: Any | None
    y: Any

    # -- one token

    def one_token(self, x: Any) -> None:
        """Both products, each block of all chosen experts by one thread."""
        form = self.form
        hidden = shared("hidden", (form.chosen, row_length(form.inner)), "float32")
        halves = 2 if form.gated else 1
        self._of_one("hidden", self.gate_up, form.inner, halves, x, hidden)
        self._of_one("down", self.down, form.outer, 1, hidden, self.y)

    def _of_one(self, name: str, weight: StackedWeight, rows: int, halves: int, x: Any, result: Any) -> None:
        """A stage: the blocks of the chosen experts, several of which are read at a time."""
        form, blocks = self.form, rows // PANEL
        together = next(n for n in range(max(1, weight.streams // halves), 0, -1) if form.chosen % n == 0)
        first = name == "hidden"
        bias = self.gate_up_bias if first else self.down_bias
        reads = [x, self.indices, *weight.buffers, *([] if first else [self.shares]), *([] if bias is None else [bias])]
        with iteration(name, builder.parallel(blocks), blocks, reads, [result]) as block:
            totals = None if first else local("totals", (PANEL,), "float32")
            if totals is not None:
                for place in self._places:
                    store(totals, spread(T.float32(0), place.lanes), place)
            chosen = local("expert_numbers", (together,), "int64")
            with builder.serial(form.chosen // together) as part:
                for j in range(together):
                    store(chosen, expert_of(self.indices, 0, part * together + j, form.experts), j)
                streams = [
                    Stream(0 if first else part * together + j, chosen[j] * (halves * blocks) + half * blocks + block)
                    for j in range(together)
                    for half in range(halves)
                ]
                sums = weight.products(x, 1, streams)
                for j in range(together):
                    pair = part * together + j
                    if totals is None:
                        self._store_hidden(
                            result, sums[j * halves : (j + 1) * halves], 0, pair, chosen[j], block * PANEL
                        )
                    else:
                        share = self.shares[0, pair]
                        for place in self._places:
                            value = self._with_down_bias(sums[j][0, place], chosen[j], block * PANEL, place)
                            store(totals, totals[place] + spread(share, place.lanes) * value, place)
            if totals is not None:
                for place in self._places:
                    store(result, totals[place], 0, _moved(place, block * PANEL))

    # -- several

    def tokens(self, x: Any, tokens: Any) -> None:
        form, most = self.form, self.settings["tile_rows"]
        order = order_by_expert(self.indices, tokens, form.chosen, form.experts)
        rows = rows_by_expert(self.cpu, x, order, tokens, form.chosen, form.size, most)
        hidden = shared("hidden", (tokens * form.chosen + most, row_length(form.inner)), "float32")
        parts = shared("parts", (tokens * form.chosen, form.outer), "float32")
        self._hidden_of_groups(rows, order, hidden)
        self._down_of_groups(hidden, order, parts)
        self._mix(parts, tokens)

    def _hidden_of_groups(self, rows: Any, order: ExpertOrder, hidden: Any) -> None:
        form, blocks = self.form, self.form.inner // PANEL
        halves = 2 if form.gated else 1
        reads = [rows, order.starts, *self.gate_up.buffers, *([] if self.gate_up_bias is None else [self.gate_up_bias])]

        def tile(group: Group, block: Any, count: int, first: Any) -> None:
            start = group.expert * (halves * blocks) + block
            streams = [Stream(group.begin + first, start + half * blocks) for half in range(halves)]
            sums = self.gate_up.products(rows, count, streams)
            with unrolled(count) as r, self._there(count, first + r, group):
                self._store_hidden(hidden, sums, r, group.begin + first + r, group.expert, block * PANEL)

        self._of_groups("hidden", order, blocks, reads, [hidden], tile)

    def _down_of_groups(self, hidden: Any, order: ExpertOrder, parts: Any) -> None:
        blocks = self.form.outer // PANEL
        reads = [hidden, *order.buffers, *self.down.buffers, *([] if self.down_bias is None else [self.down_bias])]

        def tile(group: Group, block: Any, count: int, first: Any) -> None:
            (sums,) = self.down.products(hidden, count, [Stream(group.begin + first, group.expert * blocks + block)])
            with unrolled(count) as r, self._there(count, first + r, group):
                pair = order.pairs[group.begin + first + r]
                for place in self._places:
                    value = self._with_down_bias(sums[r, place], group.expert, block * PANEL, place)
                    store(parts, value, pair, _moved(place, block * PANEL))

        self._of_groups("down", order, blocks, reads, [parts], tile)

    def _of_groups(
        self, name: str, order: ExpertOrder, blocks: int, reads: list[Any], writes: list[Any], tile: Any
    ) -> None:
        """A stage: threads take shares of the blocks, as even as can be, of every expert that was chosen.

        An expert's rows of x stay in the nearer cache over the blocks of a share.
        """
        shares = min(self.settings["shares"], blocks)
        with iteration(name, builder.parallel(shares), shares, reads, writes) as share:
            first = T.floordiv(share * blocks, shares)
            last = T.floordiv((share + 1) * blocks, shares)
            with order.each() as group, builder.serial(last - first) as number:

                def each(count: int, first_row: Any) -> None:
                    tile(group, first + number, count, first_row)

                RowTiles(self.settings["tile_rows"]).each(group.count, each)

    def _there(self, count: int, row: Any, group: Group) -> AbstractContextManager[None]:
        """Only a tile of several rows may reach past the last."""
        return nullcontext() if count == 1 else when(row < group.count)

    def _mix(self, parts: Any, tokens: Any) -> None:
        """The stage that adds up what the chosen experts gave, in the order in which they were chosen."""
        form, width = self.form, self.cpu.float_lanes
        blocks = -(-form.outer // COLUMNS)
        count = tokens * blocks
        with iteration("mix", builder.parallel(count), count, [parts, self.shares], [self.y]) as number:
            token, block = T.floordiv(number, blocks), T.floormod(number, blocks)
            totals = local("totals", (width,), "float32")
            every = lanes(0, width)
            with builder.serial(T.min(COLUMNS // width, form.outer // width - block * (COLUMNS // width))) as part:
                at = lanes(block * COLUMNS + part * width, width)
                store(totals, spread(T.float32(0), width), every)
                with builder.serial(form.chosen) as j:
                    share = spread(self.shares[token, j], width)
                    store(totals, totals[every] + share * parts[token * form.chosen + j, at], every)
                store(self.y, totals[every], token, at)

    # -- what stands behind the products

    @property
    def _places(self) -> list[Any]:
        """The lanes of a block that share a register, as indices."""
        return [lanes(begin, self.cpu.float_lanes) for begin in range(0, PANEL, self.cpu.float_lanes)]

    def _store_hidden(self, hidden: Any, sums: Sequence[Any], r: Any, row: Any, expert: Any, column: Any) -> None:
        """hidden[row, column : column + 16] of row r of the sums of gate and up, or of one."""
        for place in self._places:
            values = [each[r, place] for each in sums]
            if self.gate_up_bias is not None:
                values = [
                    value + self.gate_up_bias[expert, _moved(place, half * self.form.inner + column)]
                    for half, value in enumerate(values)
                ]
            gate, up = values if len(values) == 2 else (values[0], None)
            store(hidden, self.form.unit(gate, up), row, _moved(place, column))

    def _with_down_bias(self, value: Any, expert: Any, column: Any, place: Any) -> Any:
        return value if self.down_bias is None else value + self.down_bias[expert, _moved(place, column)]


def _moved(place: Any, offset: Any) -> Any:
    """The index of as many neighbours, from an offset on."""
    return lanes(offset + place.base, int(place.lanes))
