"""What a tuner may turn in the kernels. The emulator pays for each program: it has the largest tiles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from graphwright.backends.cuda.gpu import Gpu
from graphwright.backends.cuda.library.conditions import MOST_KEYS
from graphwright.backends.cuda.library.splitting import SPLITS, cheapest_splits, few_rows_read, splits_refusal
from graphwright.backends.kernel_library import Choice, Problem
from graphwright.ir.dims import product
from graphwright.ir.types import DType, StateType, TensorType, Type

POWERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


def _gpu(problem: Problem) -> Gpu:
    assert isinstance(problem.device, Gpu), "the library of a GPU"
    return problem.device


def _choice(name: str, default: int, emulated: int, about: str, values: tuple[int, ...] = POWERS) -> Choice:
    def usual(problem: Problem) -> int:
        return emulated if _gpu(problem).emulated else default

    return Choice(name, values, usual, about)


WARPS = _choice("warps", 4, 4, "warps of a block of threads", (1, 2, 4, 8))


def _rows_default(one: int, more: int, gated: int, emulated: int) -> Callable[[Problem], int]:
    """Of few rows: by whether there is one, and for more by whether there is a gate too."""

    def usual(problem: Problem) -> int:
        x = problem.operands[0]
        assert isinstance(x, TensorType), "a product's operands are tensors"
        if _gpu(problem).emulated:
            return emulated
        if product(x.shape[:-1]).constant == 1:
            return one
        return gated if problem.attributes.get("gated") else more

    return usual


@dataclass(frozen=True)
class _Tile:
    """A tile of a product of many rows: rows, columns, inner size, warps, tiles that are loaded ahead."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


def _tile(problem: Problem) -> _Tile:
    """As large as fits registers without a spill, and shared memory: a gate has two tiles of weights and two sums.

    float32 is multiplied without tensor cores, whose sums are in fewer registers.
    """
    gpu, gated = _gpu(problem), bool(problem.attributes.get("gated"))
    x = problem.operands[0]
    assert isinstance(x, TensorType), "a product's operands are tensors"
    if gpu.emulated:
        return _Tile(64, 256, 256, 4, 3)
    if x.dtype is DType.F32:
        return _Tile(64, 32 if gated else 64, 32, 4, 2)
    if gpu.shared_bytes < 128 << 10:
        return _Tile(128, 64 if gated else 128, 32, 8, 3 if gated else 4)
    if gpu.number < 90:
        return _Tile(128, 64 if gated else 128, 64, 8, 3)
    return _Tile(128, 128, 64, 8, 3 if gated else 4)


TILES = (
    Choice("columns", POWERS, _rows_default(4, 16, 16, 256), "of few rows: columns of a block"),
    Choice("depth", POWERS, _rows_default(512, 256, 128, 256), "of few rows: of the inner size at a time"),
    WARPS,
    Choice("tile_rows", POWERS, lambda p: _tile(p).rows, "of many rows: rows of a tile"),
    Choice("tile_columns", POWERS, lambda p: _tile(p).columns, "of many rows: columns of a tile"),
    Choice("tile_depth", POWERS, lambda p: _tile(p).depth, "of many rows: of the inner size at a time"),
    Choice("tile_warps", (4, 8), lambda p: _tile(p).warps, "of many rows: warps of a block of threads"),
    Choice("tile_stages", (2, 3, 4), lambda p: _tile(p).stages, "of many rows: tiles that are loaded ahead"),
    _choice("stripe", 8, 8, "of many rows: tiles of rows that go together"),
)


def _defaults(choices: tuple[Choice, ...], problem: Problem, *names: str) -> list[int]:
    known = {choice.name: choice for choice in choices}
    return [known[name].default_for(problem) for name in names]


def _splits(problem: Problem) -> int:
    """Of numbers: a tile is on its way while another one is multiplied."""
    read = few_rows_read(problem)
    if read is None:
        return 1
    columns, depth = _defaults(TILES, problem, "columns", "depth")
    return cheapest_splits(_gpu(problem), read, columns, depth)


def _coded_splits(problem: Problem) -> int:
    """Of codes: as many tiles are on their way as are loaded ahead of a product of tiles."""
    read = few_rows_read(problem)
    if read is None:
        return 1
    names = ("columns", "depth") if read.rows == 1 else ("few_columns", "few_depth")
    columns, depth = _defaults(CODED_TILES, problem, *names)
    ahead = 1 if read.rows == 1 else _defaults(CODED_TILES, problem, "few_stages")[0] - 1
    return cheapest_splits(_gpu(problem), read, columns, depth, ahead)


def _splits_choice(default: Callable[[Problem], int]) -> Choice:
    return Choice("splits", SPLITS, default, "of few rows: parts of the inner size", splits_refusal)


LINEAR = (*TILES, _splits_choice(_splits))
CODED_TILES = (
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
    _choice("tile_warps", 8, 8, "of many rows: warps of a block of threads", (4, 8)),
    _choice("tile_stages", 3, 3, "of many rows: tiles that are loaded ahead", (2, 3, 4)),
    _choice("stripe", 8, 8, "tiles of rows that go together"),
)
CODED_LINEAR = (*CODED_TILES, _splits_choice(_coded_splits))
KEYS = (16, 32, 64, 128, 256)
QUERIES = 64
BESIDE = 10 << 10
"""Bytes of shared memory that attention takes beside tiles of queries, keys and values, at most."""


def _padded(type: Type | None) -> int:
    """The head size of keys or values as kernels have it, the next power of two."""
    assert isinstance(type, TensorType | StateType), "attention reads tensors and caches"
    return 1 << max(4, ((type.shape[3].constant or 1) - 1).bit_length())


def _keys(problem: Problem, queries: int, loaded: int) -> int:
    """As many as shared memory has room for, where so many tiles are loaded ahead; 64 fit at usual sizes."""
    gpu = _gpu(problem)
    if gpu.emulated:
        return 256
    x, k, v = problem.operands[:3]
    assert isinstance(x, TensorType), "queries, or a row that has them, are a tensor"
    number = x.dtype.bits // 8
    room = gpu.shared_bytes - BESIDE - queries * _padded(k) * number
    fitting = (keys for keys in (64, 32) if loaded * keys * (_padded(k) + _padded(v)) * number <= room)
    return next(fitting, 16)


def _keys_of_pieces(problem: Problem) -> int:
    return _keys(problem, queries=0, loaded=2)


BIAS, KEY_POSITIONS, KEY_SCALE, VALUE_SCALE = 5, 7, 8, 9
"""The places of these operands of `cuda.attention`."""


def _given(problem: Problem, *places: int) -> bool:
    return any(problem.operands[place] is not None for place in places)


def _whole_keys(problem: Problem) -> int:
    """At a head size of 128 64 spill on sm_120, whose products of tiles take their operands from registers; with
    positions of keys or with codes on sm_80 to sm_89 too; with a bias on others as well."""
    gpu = _gpu(problem)
    keys = _keys(problem, QUERIES, loaded=3 if 90 <= gpu.number < 120 else 2)
    more = _given(problem, KEY_POSITIONS, KEY_SCALE, VALUE_SCALE)
    narrow = gpu.number == 120 or (more and gpu.number < 90) or _given(problem, BIAS)
    return min(keys, 32) if narrow and not gpu.emulated else keys


def _whole_warps(problem: Problem) -> int:
    """Sums of large heads, or scores and a bias, lie in the registers of twice as many threads."""
    large = max(_padded(type) for type in problem.operands[1:3]) > 128
    return 8 if large or _given(problem, BIAS) else 4


SPLIT_ATTENTION = (Choice("keys", KEYS, _keys_of_pieces, "keys at a time"), WARPS)
ATTENTION = (
    _choice("queries", QUERIES, 128, "queries of a tile", (16, 32, 64, 128)),
    Choice("keys", KEYS, _whole_keys, "keys at a time"),
    Choice("warps", WARPS.values, _whole_warps, WARPS.about),
)
CHOOSING = (
    _choice("block", 4096, 1 << 15, "logits at a time to find the largest", (1024, 2048, 4096, 8192, 1 << 15)),
    _choice("drawn", 1024, 4096, "logits at a time to draw", (512, 1024, 2048, 4096)),
)


def _columns(problem: Problem) -> int:
    """Of so many keys a block's registers hold that many columns, beside what decays them."""
    k = problem.operands[1]
    assert isinstance(k, TensorType), "keys are a tensor"
    if _gpu(problem).emulated:
        return 256
    keys = k.shape[3].constant or MOST_KEYS
    return max(4, min(32, 2048 // (1 << (keys - 1).bit_length())))


AHEAD = _choice("ahead", 3, 3, "tokens, or tiles of them, that are loaded ahead", (1, 2, 3, 4))
RECURRENCE = (
    Choice("columns", POWERS, _columns, "token by token: columns of a block"),
    _choice("warps", 1, 1, "token by token: warps of a block of threads", (1, 2, 4)),
    _choice("tile_tokens", 16, 32, "by products: tokens of a tile", (16, 32, 64)),
    _choice("tile_values", 32, 64, "by products: values of a tile", (16, 32, 64, 128)),
    _choice("tile_warps", 4, 4, "by products: warps of a block of threads", (2, 4, 8)),
    AHEAD,
)
"""One warp adds up the keys of a column without waiting for others."""
WEIGHTED_MEAN = (
    _choice("channels", 32, 256, "channels of a block"),
    _choice("warps", 1, 1, "warps of a block of threads", (1, 2, 4)),
    AHEAD,
)
CAUSAL_CONV = (
    _choice("channels", 4, 64, "channels of a block of many tokens"),
    _choice("tokens", 128, 64, "tokens of a block"),
    WARPS,
)
