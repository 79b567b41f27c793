import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from benchmarks import interleaved
from benchmarks.interleaved import Contestant, measure
from benchmarks.measurements import Workload
from benchmarks.peers.process import WorkerProcess

Fake = Callable[..., WorkerProcess]
WORKLOAD = Workload(
    prefill_tokens=5,
    decode_contexts=(3, 9),
    decode_steps=4,
    verify_tokens=2,
    verify_steps=3,
    rows=3,
    logit_context=2,
    logit_steps=1,
    rounds=2,
)


@pytest.fixture(autouse=True)
def _bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "measured_bandwidth", lambda: 1e9)


def test_every_system_is_measured_once_a_round_in_rotating_order(fake: Fake, tmp_path: Path) -> None:
    lines: list[str] = []
    contestants = {
        "a": Contestant(partial(fake, name="a"), tmp_path, compile_seconds=3.0),
        "b": Contestant(partial(fake, name="b"), tmp_path, verifies=False, batches=False),
    }
    measured = measure(contestants, 11, WORKLOAD, lines.append)
    assert [line.rpartition(": ")[2] for line in lines] == ["bandwidth", "a", "b", "bandwidth", "b", "a"]
    assert measured.bandwidth == [1e9] * 2
    assert measured.failures == {}
    for samples in measured.systems.values():
        assert samples.prefill_seconds == [0.005] * 2
        assert samples.decode_seconds == {3: [0.01] * 2, 9: [0.01] * 2}
        assert len(samples.load_seconds) == len(samples.peak_memory) == 2
        assert samples.divergence == 0
        assert samples.versions == {"fake": "1.0"}
    assert measured.systems["a"].verify_seconds == [0.012] * 2
    assert measured.systems["a"].batch_seconds == [0.015] * 2
    assert measured.systems["b"].verify_seconds == measured.systems["b"].batch_seconds == []
    assert measured.systems["a"].compile_seconds == 3.0


def test_a_system_that_runs_another_model_is_left_out(fake: Fake, tmp_path: Path) -> None:
    contestants = {"a": Contestant(fake, tmp_path), "b": Contestant(partial(fake, "differs", name="b"), tmp_path)}
    measured = measure(contestants, 11, WORKLOAD, lambda _: None)
    assert measured.systems.keys() == {"a"}
    message = r"b: does not run the same model: after prefill its likeliest token is 10\d, that of a is \d"
    assert re.match(message, measured.failures["b"])


def test_a_system_that_mixes_up_rows_is_left_out(fake: Fake, tmp_path: Path) -> None:
    contestants = {"a": Contestant(fake, tmp_path), "b": Contestant(partial(fake, "forgets a row", name="b"), tmp_path)}
    measured = measure(contestants, 11, WORKLOAD, lambda _: None)
    assert "after 3 rows its likeliest token is" in measured.failures["b"]
    without = measure(contestants, 11, replace(WORKLOAD, rows=1), lambda _: None)
    assert without.failures == {}
    assert without.systems["a"].batch_seconds == []


def test_a_system_that_fails_leaves_the_others_their_rounds(fake: Fake, tmp_path: Path) -> None:
    contestants = {"a": Contestant(partial(fake, "fails", name="a"), tmp_path), "b": Contestant(fake, tmp_path)}
    measured = measure(contestants, 11, WORKLOAD, lambda _: None)
    assert measured.failures["a"].startswith("a: 'load' failed: ValueError: no such folder")
    assert len(measured.systems["b"].prefill_seconds) == 2


def test_systems_of_fewer_bits_may_differ_and_how_far_is_said(fake: Fake, tmp_path: Path) -> None:
    contestants = {
        "few": Contestant(partial(fake, "differs"), tmp_path, exact=False),
        "exact": Contestant(fake, tmp_path),
    }
    systems = measure(contestants, 11, WORKLOAD, lambda _: None).systems
    assert systems["exact"].divergence == 0
    assert systems["few"].divergence is not None
    assert systems["few"].divergence > 0.1


def test_without_float32_nothing_is_compared(fake: Fake, tmp_path: Path) -> None:
    contestants = {"few": Contestant(fake, tmp_path, exact=False)}
    assert measure(contestants, 11, WORKLOAD, lambda _: None).systems["few"].divergence is None


def test_nothing_to_measure_measures_bandwidth(tmp_path: Path) -> None:
    assert measure({}, 11, WORKLOAD, lambda _: None).bandwidth == [1e9] * 2


def test_tokens_are_seeded_and_within_the_vocabulary() -> None:
    tokens = Workload().tokens(100)
    assert tokens == Workload().tokens(100) != Workload(seed=1).tokens(100)
    assert len(tokens) == 8192 + 32
    assert set(tokens) <= set(range(100))
    rows = [Workload().row(number, 100) for number in range(8)]
    assert rows[0] == tokens[: 128 + 16]
    assert len({tuple(row) for row in rows}) == 8


def test_decoding_ends_where_the_model_does() -> None:
    assert Workload().within(32768).decode_contexts == (128, 2048, 8192)
    assert Workload().within(8192).decode_contexts == (128, 2048, 8192 - 17)
    assert Workload().within(2048).decode_contexts == (128, 2048 - 17)
