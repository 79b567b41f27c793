"""Machines by name, and this one's measurements: kept, found again, and never trusted when damaged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from graphwright.errors import UsageError
from graphwright.ir import DType
from graphwright.machines import machine as module
from graphwright.machines import microbenchmarks as measurement
from graphwright.machines.machine import cache_file, choose_machine, local_machine, processor_name
from graphwright.machines.microbenchmarks import launch_seconds, product_rate, read_bandwidth
from graphwright.reporting.pipeline_report import MachineRow
from tests.graphwright.commands import Commands


class Rates:
    """Measures in no time: each measurement finds twice the memory bandwidth of the one before."""

    def __init__(self) -> None:
        self.count = 0

    def read_bandwidth(self) -> float:
        self.count += 1
        return 1e9 * 2**self.count


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Rates:
    """A cache of the test's own, and a processor and measurements that it makes up."""
    found = Rates()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(measurement, "read_bandwidth", found.read_bandwidth)
    monkeypatch.setattr(measurement, "product_rate", lambda: 5e10)
    monkeypatch.setattr(measurement, "launch_seconds", lambda: 1e-6)
    monkeypatch.setattr(module, "processor_name", lambda: "Abacus")
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    return found


def test_a_machine_is_measured_once(rates: Rates) -> None:
    stages: list[str] = []
    first = local_machine(on_stage=stages.append)
    assert stages == ["measure products", "measure launches", "measure memory"]
    assert (first.name, first.bytes_per_second, first.launch_seconds) == ("local", 2e9, 1e-6)
    assert first.rate(DType.F32) == first.rate(DType.BF16) == 5e10
    assert first.source.startswith("measured 20")
    assert first.source.endswith("on Abacus, 2 cores")
    assert choose_machine("Local") == first
    assert rates.count == 1
    assert local_machine(anew=True).bytes_per_second == 4e9
    assert local_machine().bytes_per_second == 4e9
    assert len(json.loads(cache_file().read_text())["machines"]) == 1


def test_each_processor_and_number_of_cores_has_its_own(rates: Rates, monkeypatch: pytest.MonkeyPatch) -> None:
    here = local_machine()
    monkeypatch.setattr(module, "available_cores", lambda: 1)
    assert local_machine().bytes_per_second == 4e9
    assert local_machine().source.endswith("Abacus, 1 core")
    monkeypatch.setattr(module, "available_cores", lambda: 2)
    assert local_machine() == here
    assert rates.count == 2


def entry(**changes: Any) -> dict[str, Any]:
    known = {"processor": "Abacus", "cores": 2, "flops_per_second": 1.0, "bytes_per_second": 1.0}
    return {**known, "launch_seconds": 1.0, "date": "2026-01-01", **changes}


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"format_version": 2, "machines": []}',
        json.dumps({"format_version": 1, "machines": [entry(bytes_per_second=0)]}),
        json.dumps({"format_version": 1, "machines": [entry(launch_seconds=-1)]}),
        json.dumps({"format_version": 1, "machines": [entry(flops_per_second=math.inf)]}),
        json.dumps({"format_version": 1, "machines": [entry(more=1)]}),
        json.dumps({"format_version": 1, "machines": [entry(processor="Slide rule")]}),
    ],
)
def test_a_damaged_or_foreign_file_is_measured_anew(rates: Rates, content: str) -> None:
    cache_file().parent.mkdir()
    cache_file().write_text(content)
    assert local_machine().bytes_per_second == 2e9
    assert local_machine().bytes_per_second == 2e9
    assert rates.count == 1


def test_bytes_that_are_no_text_and_places_that_cannot_be_written(rates: Rates, tmp_path: Path) -> None:
    cache_file().parent.mkdir()
    cache_file().write_bytes(b"\xff\xfe\x00")
    assert local_machine().bytes_per_second == 2e9
    cache_file().unlink()
    cache_file().mkdir()
    assert local_machine().bytes_per_second == 4e9
    assert [p.name for p in cache_file().parent.iterdir()] == ["machine.json"]


def test_where_measurements_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file() == tmp_path / "graphwright/machine.json"
    for unset in ("", "relative/folder"):
        monkeypatch.setenv("XDG_CACHE_HOME", unset)
        assert cache_file() == Path.home() / ".cache/graphwright/machine.json"


def test_the_name_of_a_processor(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("processor : 0\nmodel name\t: Abacus 3000 @ 1 Hz\nmodel name : other\n")
    assert processor_name(tmp_path / "cpuinfo") == "Abacus 3000 @ 1 Hz"
    assert processor_name(tmp_path / "missing")


def test_measurements_are_finite() -> None:
    assert 0 < read_bandwidth(array_bytes=1 << 20, passes=2) < math.inf
    assert 0 < product_rate(size=64, passes=2) < math.inf
    assert 0 < launch_seconds(count=4, passes=2) < math.inf


def test_without_an_engine_there_is_nothing_to_measure_by(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere(name: str) -> None:
        return None

    monkeypatch.setattr(measurement.importlib.util, "find_spec", nowhere)
    with pytest.raises(UsageError, match=r"pip install -e '\.\[compile\]'"):
        product_rate(size=8)


def test_the_command(rates: Rates, commands: Commands) -> None:
    output = commands.succeed("machine")
    assert "machine    local\nf32        50 GFLOP/s\nmemory     2 GB/s\nlaunch     1 us\nsource     measured" in output
    assert "memory     4 GB/s" in commands.succeed("machine", "--measure")
    row = MachineRow.model_validate_json(commands.succeed("machine", "--json"))
    assert (row.name, row.bytes_per_second, row.flops_per_second) == ("local", 4e9, {"f32": 5e10})
    assert "bf16       989.4 TFLOP/s" in commands.succeed("machine", "H100")


def test_bad_names(commands: Commands) -> None:
    message = "there is no machine 'h1000': did you mean 'h100'? known are b200, h200, h100, a100, l4, rtx4090, local"
    assert commands.fail("machine", "h1000") == message
    assert "cannot be measured" in commands.fail("machine", "h100", "--measure")
