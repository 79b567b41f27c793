import pytest
from rich.console import Console

from benchmarks.interleaved import Measurements, Samples, Workload
from benchmarks.process_tree import PeakMemory
from benchmarks.results import figures, ratios
from benchmarks.tables import figures_table, ratios_table

OURS = Samples(
    load_seconds=[1.0, 2.0, 3.0],
    prefill_seconds=[1.0, 2.0, 4.0],
    decode_seconds=[0.1, 0.2, 0.4],
    peak_memory=[PeakMemory(900, 300), PeakMemory(1000, 400), PeakMemory(1100, 500)],
)
PEER = Samples(
    load_seconds=[2.0, 4.0, 6.0],
    prefill_seconds=[1.5, 3.0, 6.0],
    decode_seconds=[0.1, 0.1, 1.2],
    peak_memory=[PeakMemory(1000, 600), PeakMemory(2000, 800), PeakMemory(2200, 1000)],
)
MEASURED = Measurements({"ours": OURS, "peer": PEER}, bandwidth=[20.0, 10.0, 40.0])


def test_figures_are_medians() -> None:
    found = figures(OURS, MEASURED, Workload(prefill_tokens=512), weight_bytes=3)
    assert found.load_seconds == 2.0
    assert found.prefill_speed == 256.0
    assert found.decode_speed == pytest.approx(5.0)
    # 3 bytes in 0.2 s are 15 a second, of a measured median of 20.
    assert found.bandwidth_share == pytest.approx(0.75)
    assert (found.peak_resident, found.peak_anonymous) == (1000, 400)


def test_ratios_are_paired_by_round() -> None:
    found = ratios(OURS, PEER)
    assert found.prefill_speed == 1.5
    # The rounds' ratios are 1, 0.5 and 3: their median, not the ratio of the medians (0.5).
    assert found.decode_speed == pytest.approx(1.0)
    assert found.load_seconds == 0.5
    assert found.peak_resident == 0.5
    assert found.peak_anonymous == 0.5


def test_the_tables_print_every_figure() -> None:
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115  # lives as long as the test
    console.print(figures_table("Title", {"ours": figures(OURS, MEASURED, Workload(), weight_bytes=3)}))
    console.print(ratios_table("ours", {"a-long-peer-name": ratios(OURS, PEER)}))
    text = console.export_text()
    assert "Title" in text
    row = next(line for line in text.splitlines() if line.startswith("│ ours"))
    assert [cell.strip() for cell in row.strip("│").split("│")] == [
        "ours", "2.00", "256.0", "5.0", "75%", "0.000", "0.000",
    ]  # fmt: skip
    row = next(line for line in text.splitlines() if line.startswith("│ a-long-peer-name"))
    assert [cell.strip() for cell in row.strip("│").split("│")][1:] == ["1.50x", "1.00x", "0.50x", "0.50x", "0.50x"]
