"""What a tuner may turn in kernels of this backend: sizes of tiles, steps, shares and thresholds.

Defaults are what was measured to be best on the machines at hand (`benchmarks/kernels`).
"""

from collections.abc import Callable

from graphwright.backends.kernel_library import Choice, Problem
from graphwright.backends.tvm.cpu import Cpu


def _by_lanes(wide: int, middle: int, narrow: int) -> Callable[[Problem], int]:
    """A default by the float32 numbers in a register: 16, 8 or 4."""

    def default(problem: Problem) -> int:
        cpu: Cpu = problem.device
        return {16: wide, 8: middle, 4: narrow}[cpu.float_lanes]

    return default


def _whole_panels(problem: Problem, value: int) -> str | None:
    cpu: Cpu = problem.device
    return None if value == 1 or cpu.float_lanes == 16 else "two panels are summed where a register holds a panel's row"


ROWS = (
    Choice("small", (1024, 4096, 16384), 4096, "numbers of a stage up to which one thread goes through them"),
    Choice("columns", (32, 64, 128), 64, "columns of a row that are one iteration where elements are independent"),
)
SMALL = ROWS[:1]

LOOPS = (
    Choice("serial", (4096, 16384, 65536), 16384, "numbers of a result up to which one thread computes it"),
    Choice("stretch", (16, 64, 256), 64, "neighbours along the innermost axis that are one iteration"),
)
"""Of loops that TVM makes of a tensor expression."""

LINEAR = (
    Choice("few", (4, 8), 8, "rows up to which each number of the weight is read once for all of them"),
    Choice("streams", (1, 2, 4, 8), 8, "most panels that a thread reads at a time, by few rows"),
    Choice("ahead", (0, 2048, 4096, 8192), 4096, "bytes ahead of what is read that memory is asked for, by few rows"),
    Choice("column_step", (2, 4, 8), 4, "columns of the weight in one turn of the loop, by few rows"),
    Choice("tile_rows", (3, 6, 12), _by_lanes(12, 6, 3), "rows of a tile of the result, by many rows"),
    Choice("tile_panels", (1, 2), _by_lanes(2, 1, 1), "panels of a tile of the result, by many rows", _whole_panels),
    Choice("depth", (16, 32), 16, "columns of x that stand together in a tile, by many rows"),
    Choice("depth_step", (2, 4, 8), 4, "columns in one turn of the loop, by many rows"),
)

TOKENS = (Choice("rows", (4, 8), _by_lanes(8, 4, 4), "tokens that share what is read of the weight"),)
ROUNDED = (
    *TOKENS,
    Choice("tile_rows", (4, 8, 12), _by_lanes(12, 4, 4), "the same where the number of tokens is not known"),
    Choice("unrolled", (4, 8, 16), 8, "steps that are spelt out one after another"),
    Choice("streams", (1, 2, 4), 4, "most blocks that are multiplied together, for one token"),
    Choice("ahead", (0, 1024, 2048, 4096), 2048, "bytes of codes ahead of what is read that are asked for, by more"),
    Choice("long", (1024, 2048, 4096), 2048, "numbers of one token from which on several threads round it"),
)
WEIGHT_ONLY = (
    *TOKENS,
    Choice("chains", (1, 2, 4), 2, "sums that are added to in turn", rounds=True),
    Choice("sums", (4, 8, 16), 8, "vectors of sums that are kept in registers"),
    Choice("unrolled", (2, 4, 8), 4, "steps that are spelt out one after another"),
)
MATMUL = (Choice("block", (4, 8, 16), 8, "vectors of columns whose sums stay in registers"),)
SHARES = (Choice("shares", (4, 16, 64), 16, "shares of an expert's rows that threads take, by several tokens"),)
EXPERTS = (
    *SHARES,
    Choice("tile_rows", (3, 6, 12), _by_lanes(12, 3, 3), "tokens of an expert that are multiplied together"),
    Choice("streams", (2, 4, 8), _by_lanes(8, 4, 2), "most panels that a thread reads at a time, by one token"),
    Choice("ahead", (0, 2048, 4096, 8192), 4096, "bytes ahead of what is read that memory is asked for"),
    Choice("column_step", (2, 4, 8), 4, "columns of the weight in one turn of the loop"),
)
EXPERTS_BY_CODES = (
    *SHARES,
    Choice("tile_rows", (4, 8), _by_lanes(8, 4, 4), "tokens of an expert that are multiplied together"),
    *WEIGHT_ONLY[1:],
)
EXPERTS_OF_TENSORS = (Choice("rows", (1, 2, 4), 4, "rows of a weight that are multiplied side by side"),)
EMBEDDING = (Choice("share", (32, 64, 128), 64, "columns that one thread takes at a time"),)

ATTENTION = (
    Choice("few", (1, 8, 16), 8, "queries up to which keys are cut into shares that threads take"),
    Choice("shares", (4, 8, 16), 8, "shares of each row's blocks of keys, by few queries"),
    Choice("rows", (24, 48, 96), 48, "about so many rows of queries and heads share a block of keys, by many queries"),
    Choice("tile_rows", (2, 4, 6), _by_lanes(6, 4, 4), "most rows whose sums are in registers at once"),
    Choice("tile_vectors", (1, 2, 4), _by_lanes(4, 2, 2), "vectors of scores of each of those rows", rounds=True),
    Choice("value_vectors", (5, 10, 24), _by_lanes(24, 10, 10), "most vectors of values that are summed at once"),
    Choice("keys", (32, 64, 128), 64, "most keys of a block", rounds=True),
    Choice("key_numbers", (2048, 4096, 8192), 4096, "numbers of a block of keys, for the nearest cache", rounds=True),
)

STEP = (
    Choice("patience", (0, 2000, 20000), 2000, "looks at the counter after which a wait counts as long"),
    Choice("ahead", (0, 1 << 16, 1 << 17, 1 << 18), 1 << 17, "bytes of weights that a thread asks for while it waits"),
)
"""Of the loop that runs a plan's stages."""
