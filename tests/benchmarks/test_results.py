import pytest
from rich.console import Console

from benchmarks.measurements import Measurements, Samples, Workload
from benchmarks.process_tree import PeakMemory
from benchmarks.results import BestPeer, best_peers, figures
from benchmarks.tables import best_peers_table, size_table, speed_table

WORKLOAD = Workload(prefill_tokens=512, decode_contexts=(10, 110), rows=8)
OURS = Samples(
    compile_seconds=7.0,
    load_seconds=[1.0, 2.0, 3.0],
    prefill_seconds=[1.0, 2.0, 4.0],
    decode_seconds={10: [0.1, 0.2, 0.4], 110: [0.3, 0.3, 0.3]},
    verify_seconds=[0.2, 0.3, 0.4],
    batch_seconds=[0.4, 0.5, 0.8],
    peak_memory=[PeakMemory(900, 300), PeakMemory(1000, 400), PeakMemory(1100, 500)],
    divergence=0.0123,
)
PEER = Samples(
    load_seconds=[2.0, 4.0, 6.0],
    prefill_seconds=[1.5, 3.0, 6.0],
    decode_seconds={10: [0.1, 0.1, 1.2], 110: [0.6, 0.6, 0.6]},
    batch_seconds=[0.8, 1.0, 0.8],
    peak_memory=[PeakMemory(1000, 600), PeakMemory(2000, 800), PeakMemory(2200, 1000)],
)
OTHER = Samples(
    load_seconds=[0.5] * 3,
    prefill_seconds=[9.0] * 3,
    decode_seconds={10: [9.0] * 3, 110: [9.0] * 3},
    peak_memory=[PeakMemory(9000, 9000)] * 3,
)
MEASURED = Measurements({"ours": OURS, "peer": PEER}, bandwidth=[20.0, 10.0, 40.0])


def test_figures_are_medians() -> None:
    found = figures(OURS, MEASURED, WORKLOAD, weight_bytes=3, token_cache_bytes=1)
    assert (found.compile_seconds, found.load_seconds) == (7.0, 2.0)
    assert found.prefill.tokens_per_second == 256.0
    # From 1 to 4 s around a median of 2 s.
    assert found.prefill.spread == pytest.approx(0.75)
    assert found.decode[10].tokens_per_second == pytest.approx(5.0)
    # 3 bytes in 0.2 s are 15 a second, of a measured median of 20.
    assert found.bandwidth_share == {10: pytest.approx(0.75), 110: pytest.approx(0.5)}
    # 0.1 s more for 100 tokens of one byte, which take 5 s.
    assert found.context_cost == pytest.approx(0.02)
    # The rounds' ratios are 2, 1.5 and 1.
    assert found.verify_cost == pytest.approx(1.5)
    assert found.batch is not None
    assert found.batch.tokens_per_second == 16
    assert (found.peak_resident, found.peak_anonymous) == (1000, 400)
    assert found.divergence == 0.0123


def test_what_was_not_measured_is_none() -> None:
    samples = Samples(
        load_seconds=[1.0], prefill_seconds=[1.0], decode_seconds={10: [1.0]}, peak_memory=[PeakMemory(1, 1)]
    )
    found = figures(samples, MEASURED, WORKLOAD, weight_bytes=1, token_cache_bytes=1)
    assert (found.verify_cost, found.batch, found.context_cost, found.divergence) == (None,) * 4


def test_ratios_are_paired_by_round_with_the_best_at_each() -> None:
    assert best_peers(OURS, {"peer": PEER, "other": OTHER}) == {
        "prefill": BestPeer("peer", 1.5),
        # The rounds' ratios are 1, 0.5 and 3: their median, not the ratio of the medians (0.5).
        "decode at 10": BestPeer("peer", 1.0),
        "decode at 110": BestPeer("peer", 2.0),
        "rows at once": BestPeer("peer", 2.0),
        "load": BestPeer("other", 4.0),
        "peak memory": BestPeer("peer", 0.5),
    }


def test_the_tables_print_every_figure() -> None:
    console = Console(width=180, record=True, file=open("/dev/null", "w"))  # noqa: SIM115  # lives as long as the test
    measured = {
        "ours": figures(OURS, MEASURED, WORKLOAD, weight_bytes=3, token_cache_bytes=1),
        "a-long-peer-name": figures(PEER, MEASURED, WORKLOAD, weight_bytes=3, token_cache_bytes=1),
    }
    console.print(speed_table("Title", (10, 110), 8, measured, ["broken"]))
    console.print(size_table(measured, ["broken"]))
    console.print(best_peers_table({"ours": best_peers(OURS, {"peer": PEER})}))
    lines = console.export_text().splitlines()
    assert lines[0].strip() == "Title"
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in lines if line.startswith("│")]
    assert rows == [
        ["ours", "256.0 ±75%", "5.0 ±75%", "75%", "3.3 ±0%", "50%", "16.0 ±40%", "0.02x", "1.50x"],
        ["a-long-peer-name", "170.7 ±75%", "10.0 ±550%", "150%", "1.7 ±0%", "25%", "10.0 ±12%", "0.10x", "-"],
        ["broken", *["-"] * 8],
        ["ours", "7.0", "2.00", "0.000", "0.000", "1.2e-02"],
        ["a-long-peer-name", "0.0", "4.00", "0.000", "0.000", "-"],
        ["broken", *["-"] * 5],
        ["ours", "1.50x peer", "1.00x peer", "2.00x peer", "2.00x peer", "0.50x peer", "0.50x peer"],
    ]
