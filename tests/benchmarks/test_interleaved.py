from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from benchmarks import interleaved
from benchmarks.interleaved import Contestant, Workload, measure
from benchmarks.peers.process import BenchmarkError, WorkerProcess

Fake = Callable[..., WorkerProcess]
WORKLOAD = Workload(prefill_tokens=5, decode_context=3, decode_steps=4, rounds=3, startups=2)


@pytest.fixture(autouse=True)
def _bandwidth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "measured_bandwidth", lambda: 1e9)


def test_every_system_is_measured_once_a_round_in_rotating_order(fake: Fake, tmp_path: Path) -> None:
    lines: list[str] = []
    contestants = {name: Contestant(partial(fake, name=name), tmp_path) for name in "abc"}
    measured = measure(contestants, 11, WORKLOAD, lines.append)
    rounds = [line.rpartition(": ")[2] for line in lines if line.startswith("round") and "bandwidth" not in line]
    assert rounds == ["a", "b", "c", "b", "c", "a", "c", "a", "b", "a", "b", "c"]
    assert [line for line in lines if ": start" in line][3:6] == [f"{name}: start 1 of 2" for name in "bca"]
    assert measured.bandwidth == [1e9] * 3
    for samples in measured.systems.values():
        assert samples.prefill_seconds == [0.005] * 3
        assert samples.decode_seconds == [0.01] * 3
        assert len(samples.load_seconds) == len(samples.peak_memory) == 2
        assert samples.versions == {"fake": "1.0"}


def test_systems_that_run_different_models_are_refused(fake: Fake, tmp_path: Path) -> None:
    contestants = {"a": Contestant(fake, tmp_path), "b": Contestant(partial(fake, "differs"), tmp_path)}
    message = r"^the systems do not run the same model: next tokens after prefill and decode are a \d and \d, b 10\d"
    with pytest.raises(BenchmarkError, match=message):
        measure(contestants, 11, WORKLOAD, lambda _: None)


def test_systems_of_fewer_bits_may_differ(fake: Fake, tmp_path: Path) -> None:
    contestants = {"a": Contestant(fake, tmp_path), "b": Contestant(partial(fake, "differs"), tmp_path, exact=False)}
    assert measure(contestants, 11, WORKLOAD, lambda _: None).systems.keys() == {"a", "b"}


def test_tokens_are_seeded_and_within_the_vocabulary() -> None:
    tokens = Workload().tokens(100)
    assert tokens == Workload().tokens(100) != Workload(seed=1).tokens(100)
    assert len(tokens) == 512
    assert set(tokens) <= set(range(100))
