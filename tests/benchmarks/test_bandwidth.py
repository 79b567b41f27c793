import os
from pathlib import Path

import pytest

from benchmarks import bandwidth


def test_the_best_reader_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"slow": 1e9, "fast": 2e9}
    monkeypatch.setattr(bandwidth, "readers", lambda: [("slow",), ("fast", "2")])

    def printed(name: str, *_: str) -> float:
        return found[name]

    monkeypatch.setattr(bandwidth, "_printed", printed)
    assert bandwidth.measured_bandwidth() == 2e9


def test_our_kernel_reads_too_where_it_can_be_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(bandwidth, "REPOSITORY", tmp_path)
    assert bandwidth.readers() == [("benchmarks.bandwidth",)]
    (tmp_path / "benchmarks/kernels").mkdir(parents=True)
    (tmp_path / "benchmarks/kernels/bandwidth.py").touch()
    installed = {"tvm": object()}
    monkeypatch.setattr(bandwidth.importlib.util, "find_spec", installed.get)
    assert bandwidth.readers()[1:] == [(bandwidth.KERNEL, str(len(os.sched_getaffinity(0))))]
    del installed["tvm"]
    assert len(bandwidth.readers()) == 1
