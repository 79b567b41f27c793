"""What a tuner may turn in the kernels. The emulator pays for each program: it has the largest tiles."""

from __future__ import annotations

from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.kernel_library import Choice, Problem

POWERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def _choice(name: str, default: int, emulated: int, about: str, values: tuple[int, ...] = POWERS) -> Choice:
    def usual(problem: Problem) -> int:
        assert isinstance(problem.device, Gpu)
        return emulated if problem.device.emulated else default

    return Choice(name, values, usual, about)


WARPS = _choice("warps", 4, 4, "warps of a block of threads", (1, 2, 4, 8))
LINEAR = (
    _choice("columns", 4, 256, "of few rows: columns of a block"),
    _choice("depth", 512, 256, "of few rows: of the inner size at a time"),
    WARPS,
    _choice("tile_rows", 64, 64, "of many rows: rows of a tile"),
    _choice("tile_columns", 128, 256, "of many rows: columns of a tile"),
    _choice("tile_depth", 64, 256, "of many rows: of the inner size at a time"),
    _choice("tile_warps", 4, 4, "of many rows: warps of a block of threads", (4, 8)),
    _choice("tile_stages", 3, 3, "of many rows: tiles that are loaded ahead", (2, 3, 4)),
    _choice("stripe", 8, 8, "of many rows: tiles of rows that go together"),
)
CODED_LINEAR = (
    _choice("columns", 4, 256, "of one row: columns of a block"),
    _choice("depth", 1024, 256, "of one row: of the inner size at a time"),
    WARPS,
    _choice("few_columns", 32, 256, "of a few rows: columns of a tile"),
    _choice("few_depth", 128, 256, "of a few rows: of the inner size at a time"),
    _choice("few_warps", 4, 4, "of a few rows: warps of a block of threads", (2, 4, 8)),
    _choice("few_stages", 3, 3, "of a few rows: tiles that are loaded ahead", (2, 3, 4)),
    _choice("tile_rows", 64, 64, "of many rows: rows of a tile"),
    _choice("tile_columns", 128, 256, "of many rows: columns of a tile"),
    _choice("tile_depth", 64, 256, "of many rows: of the inner size at a time"),
    _choice("tile_warps", 4, 4, "of many rows: warps of a block of threads", (4, 8)),
    _choice("tile_stages", 3, 3, "of many rows: tiles that are loaded ahead", (2, 3, 4)),
    _choice("stripe", 8, 8, "tiles of rows that go together"),
)
KEYS = _choice("keys", 64, 256, "keys at a time", (16, 32, 64, 128, 256))
SPLIT_ATTENTION = (KEYS, WARPS)
ATTENTION = (_choice("queries", 64, 128, "queries of a tile", (16, 32, 64, 128)), KEYS, WARPS)
