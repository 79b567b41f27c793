"""Roofline times, against sums done by hand."""

from __future__ import annotations

import pytest

from graphwright.ir import DType
from graphwright.ir.machines import Machine
from graphwright.ir.pricing import Work, roofline, total_time

MACHINE = Machine("toy", {DType.F32: 100.0, DType.BF16: 400.0}, 10.0, 0.5, "made up")


def work(flops: int, bits: int, dtype: DType = DType.F32, launches: int = 1) -> Work:
    return Work("linear", dtype, launches, flops, bits // 2, bits // 4, bits // 4, launches)


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        (work(1000, 80), (10.0, "compute")),
        (work(1000, 80, DType.BF16), (2.5, "compute")),
        (work(1000, 80, DType.F16), (10.0, "compute")),
        (work(100, 1600), (20.0, "memory")),
        (work(10, 8), (0.5, "launch")),
        (work(10, 8, launches=4), (2.0, "launch")),
    ],
)
def test_the_scarcest_binds(done: Work, expected: tuple[float, str]) -> None:
    assert roofline(done, MACHINE) == expected


def test_a_whole_is_bound_by_what_most_of_its_time_goes_to() -> None:
    several = [work(1000, 80), work(100, 480), work(100, 480), work(10, 8)]
    assert total_time(several, MACHINE) == (10.0 + 6.0 + 6.0 + 0.5, "memory")
    assert total_time([], MACHINE)[0] == 0.0
