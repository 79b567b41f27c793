"""Where the plots put what they show."""

import math
import re
from itertools import pairwise

import pytest

from graphwright.reporting.html import memory_chart, roofline
from graphwright.reporting.html.labels import LINE_HEIGHT, Box, place_labels
from graphwright.reporting.html.scales import LinearScale, LogScale
from graphwright.reporting.pipeline_report import Kind, MemoryPoint
from tests.graphwright.reporting.html import reports


def kind(flops: int, moved: int, seconds: float | None, phase: str = "forward", op: str = "op") -> Kind:
    fields = {"phase": phase, "op": op, "count": 1, "launches": 1, "limit": "memory"}
    return Kind.model_validate({**fields, "flops": flops, "bytes": moved, "seconds": seconds})


def test_a_logarithmic_scale_holds_its_values_in_whole_decades() -> None:
    scale = LogScale.around([0.3, 250.0], 100, 600)
    assert (scale.low, scale.high) == (-1, 3)
    assert scale.place(0.1) == 100
    assert scale.place(1000) == pytest.approx(600)
    assert scale.place(10) == pytest.approx(350)
    assert scale.ticks == pytest.approx([0.1, 1, 10, 100, 1000])
    assert LogScale.around([1.0], 0, 1).high == 2
    assert len(LogScale.around([1e-20, 1e20], 0, 1).ticks) <= 11


@pytest.mark.parametrize("high", [1, 7, 512, 131072, 10**12, 0])
def test_a_linear_scale_has_few_ticks_at_powers_of_two(high: int) -> None:
    scale = LinearScale.upto(high, 500, 0, open_end=True)
    assert scale.high >= max(high, 1)
    assert 2 <= len(scale.ticks) <= 8
    assert scale.place(0) == 500
    assert scale.place(scale.high) == 0
    assert math.log2(scale.step) % 1 == 0


def test_points_stand_at_their_rates_and_under_the_roof() -> None:
    speed, peak = reports.MACHINE.bytes_per_second, max(reports.MACHINE.flops_per_second.values())
    kinds = [kind(10**9, 10**7, 10**9 / peak), kind(10**6, 10**7, 10**7 / speed), kind(0, 10**7, 1e-3)]
    plot = roofline.roofline(reports.small(kinds=kinds))
    assert plot is not None
    assert len(plot.points) == 2
    by_flops = {point.kind.flops: point for point in plot.points}
    assert by_flops[10**9].y == pytest.approx(plot.roofs[0].y)
    slope = plot.slope
    low = by_flops[10**6]
    rise = (slope.y2 - slope.y1) / (slope.x2 - slope.x1)
    assert low.y == pytest.approx(slope.y1 + (low.x - slope.x1) * rise)
    assert by_flops[10**9].radius > low.radius == roofline.SMALLEST


def test_every_roof_has_a_name_once() -> None:
    plot = roofline.roofline(reports.small())
    assert plot is not None
    assert [roof.text for roof in plot.roofs] == ["bf16, f32: 110 GFLOP/s", "f64: 54.0 GFLOP/s"]
    close = reports.MACHINE.model_copy(update={"flops_per_second": {"bf16": 1e12, "f16": 0.999e12, "f8e4m3": 1.001e12}})
    crowded = roofline.roofline(reports.small(machine=close))
    assert crowded is not None
    heights = [roof.text_y for roof in crowded.roofs]
    assert [b - a for a, b in pairwise(heights)] == pytest.approx([LINE_HEIGHT] * 2)


def test_no_plot_without_roofs_or_points() -> None:
    assert roofline.roofline(reports.small(machine=None)) is None
    assert roofline.roofline(reports.small(kinds=[])) is None
    for empty in (kind(0, 8, 1e-6), kind(8, 0, 1e-6), kind(8, 8, None), kind(8, 8, 0.0), kind(8, 8, math.inf)):
        assert roofline.roofline(reports.small(kinds=[empty])) is None


def test_kinds_are_listed_by_phase_and_time() -> None:
    kinds = [kind(1, 1, t, phase) for phase, t in (("prefill", 1.0), ("decode", 3.0), ("prefill", 2.0))]
    ordered = roofline.by_weight(reports.small(kinds=kinds))
    assert [(k.phase, k.seconds) for k in ordered] == [("prefill", 2.0), ("prefill", 1.0), ("decode", 3.0)]


def test_labels_keep_clear_of_points_and_each_other() -> None:
    frame = Box(0, 0, 200, 100)
    points = [(100.0, 50.0, 5.0, "first"), (112.0, 50.0, 5.0, "second"), (104.0, 52.0, 5.0, "third")]
    labels = place_labels(points, frame)
    assert labels[0] is not None
    assert labels[0].anchor == "end"
    crowd = place_labels([(100.0, 50.0, 5.0, "name")] * 9, frame)
    assert None in crowd
    assert place_labels([(100.0, 50.0, 5.0, "wider than the frame" * 2)], frame) == [None]


def test_areas_are_stacked() -> None:
    points = [MemoryPoint(context=n, weights=4096, cache=8 * n, activations=n) for n in (256, 1)]
    chart = memory_chart.memory_chart(points)
    assert chart is not None
    assert [area.part for area in chart.areas] == ["weights", "cache", "activations"]
    tops = [float(re.findall(r"[\d.]+", area.edge)[-1]) for area in chart.areas]
    assert tops == sorted(tops, reverse=True)
    assert tops[-1] == pytest.approx(chart.y.place(4096 + 9 * 256), abs=0.1)
    assert float(re.findall(r"[\d.]+", chart.areas[0].edge)[-2]) == pytest.approx(chart.x.place(256), abs=0.1)


def test_one_length_is_no_chart() -> None:
    point = MemoryPoint(context=4, weights=1, cache=1, activations=1)
    assert memory_chart.memory_chart([]) is None
    assert memory_chart.memory_chart([point, point]) is None
    empty = [MemoryPoint(context=n, weights=0, cache=0, activations=0) for n in (1, 2)]
    assert memory_chart.memory_chart(empty) is not None
