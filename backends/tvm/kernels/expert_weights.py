"""The weights of all experts as products read them: blocks of sixteen rows, those of an expert after one another."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphwright.backends.kernel_library import Settings
from graphwright.backends.tvm.cpu import Cpu
from graphwright.backends.tvm.kernels.codes import PackedTensors
from graphwright.backends.tvm.kernels.float_panels import widened
from graphwright.backends.tvm.kernels.gemv import LINE, SECOND_LEVEL
from graphwright.backends.tvm.kernels.script import lanes, local, spread, store, tensor, unrolled
from graphwright.backends.tvm.kernels.weight_only_linear import block_products
from graphwright.backends.tvm.library.layouts import PANEL
from graphwright.backends.tvm.tvm_library import T, builder
from graphwright.ir.dialects.cpu.packed_weights import PackedWeight


@dataclass(frozen=True)
class Stream:
    """Rows of x from one on, and the block that they are multiplied by."""

    first_row: Any
    block: Any


class StackedWeight(ABC):
    """A parameter of a kernel that holds [experts, rows, columns], where rows are whole blocks."""

    @property
    @abstractmethod
    def buffers(self) -> list[Any]:
        """The arrays that it is made of."""

    @property
    @abstractmethod
    def streams(self) -> int:
        """Blocks that are best read at a time for one token."""

    @abstractmethod
    def products(self, x: Any, rows: int, streams: Sequence[Stream]) -> list[Any]:
        """Of each stream f32[rows, 16] on the stack: so many rows of x, which are all there, times the block.

        A row's sums are added up in an order that depends on nothing else.
        """


@dataclass(frozen=True)
class FloatStack(StackedWeight):
    """Numbers in panels [blocks, columns, 16]."""

    cpu: Cpu
    settings: Settings
    panels: Any
    dtype: str
    columns: int

    @classmethod
    def parameter(cls, cpu: Cpu, settings: Settings, name: str, blocks: int, columns: int, dtype: str) -> FloatStack:
        """Adds it to the kernel that is written."""
        return cls(cpu, settings, tensor(name, (blocks, columns, PANEL), dtype), dtype, columns)

    @property
    def buffers(self) -> list[Any]:
        return [self.panels]

    @property
    def streams(self) -> int:
        return self.settings["streams"]

    def products(self, x: Any, rows: int, streams: Sequence[Stream]) -> list[Any]:
        width = self.cpu.float_lanes
        # A buffer each: TVM keeps less than 1 KiB on the stack.
        sums = [local("sums", (rows, PANEL), "float32") for _ in streams]
        places = [lanes(begin, width) for begin in range(0, PANEL, width)]
        with unrolled(rows) as r:
            for each, place in itertools.product(sums, places):
                store(each, spread(T.float32(0), width), r, place)

        def column(number: Any, *, ask: bool) -> None:
            for stream in streams if ask else ():
                self._ask_ahead(stream.block, number)
            # Rows outside, so that a number of x is loaded once for all streams that read it.
            with unrolled(rows) as r:
                for (each, stream), place in itertools.product(zip(sums, streams, strict=True), places):
                    weights = widened(self.cpu, self.panels[stream.block, number, place], self.dtype, width)
                    token = spread(x[stream.first_row + r, number], width)
                    store(each, each[r, place] + token * weights, r, place)

        step = self.settings["column_step"]
        turns, rest = divmod(self.columns, step)
        if turns:
            with builder.serial(turns) as turn:
                for c in range(step):
                    column(turn * step + c, ask=c * self._column_bytes % LINE == 0)
        for c in range(rest):
            column(turns * step + c, ask=False)
        return sums

    @property
    def _column_bytes(self) -> int:
        return PANEL * (4 if self.dtype == "float32" else 2)

    def _ask_ahead(self, block: Any, column: Any) -> None:
        """Asks for what comes some time after this column, perhaps in the block that is next in memory."""
        ahead = self.settings["ahead"] // self._column_bytes
        if ahead:
            address = T.address_of(self.panels[block, column + ahead, 0])
            builder.evaluate(T.call_llvm_intrin("void", "llvm.prefetch", address, 0, SECOND_LEVEL, 1))


@dataclass(frozen=True)
class CodeStack(StackedWeight):
    """Codes and their scales, as those of a matrix with the rows of all experts."""

    cpu: Cpu
    settings: Settings
    packed: PackedTensors

    @classmethod
    def parameter(cls, cpu: Cpu, settings: Settings, weight: PackedWeight) -> CodeStack:
        """Adds it to the kernel that is written."""
        return cls(cpu, settings, PackedTensors.parameters(weight))

    @property
    def buffers(self) -> list[Any]:
        return self.packed.buffers

    @property
    def streams(self) -> int:
        return 1

    def products(self, x: Any, rows: int, streams: Sequence[Stream]) -> list[Any]:
        return [
            block_products(self.cpu, self.settings, self.packed, x, rows, stream.first_row, stream.block)
            for stream in streams
        ]
