"""The benchmark of GPUs, as far as it goes without one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from benchmarks.gpu import ours
from benchmarks.gpu.__main__ import app
from benchmarks.gpu.bundle import BundleError, write_bundle
from benchmarks.gpu.kernels import Finding, distance_of
from benchmarks.gpu.rows import PROMPT, Build, Row, rows
from benchmarks.gpu.table import print_table
from graphwright.emulating import emulated_engine


def test_rows_have_names_of_their_own() -> None:
    names = [row.name for row in rows()]
    assert len(set(names)) == len(names)
    assert next(rows()).kind == "kernels"


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="exists: name a folder that does not"):
        write_bundle(tmp_path, [], "emulated", print)


def test_a_folder_that_is_no_bundle_is_a_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["run", str(tmp_path)])
    assert result.exit_code == 2
    assert "is no bundle: make one by" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("bundle", "{folder}/b", "--only", "nothing"),
            "no row has 'nothing' in its name; one is called 'kernels Tiny-bf16",
        ),
        (
            ("bundle", "{folder}/b", "--architectures", "sm_1", "--only", "exact Tiny-f16 batch"),
            "no architecture 'sm_1'",
        ),
        (("table", "{folder}/absent.json"), "absent.json cannot be read as results: "),
        (("table", "{folder}/other.json"), "other.json has no results of a run"),
    ],
)
def test_what_cannot_be_measured_is_a_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text("[1]")
    result = CliRunner().invoke(app, [each.format(folder=tmp_path) for each in arguments])
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) <= 2, "one line, and what was begun"
    assert not (tmp_path / "b").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_run_without_a_gpu_is_a_line(tmp_path: Path) -> None:
    write_bundle(tmp_path / "b", [], "emulated", print)
    result = CliRunner().invoke(app, ["run", str(tmp_path / "b")])
    assert result.exit_code == 2
    assert "torch finds no GPU here; --device emulator tries" in result.stderr


def test_the_table_has_shares_of_the_copy_rate_and_ratios(capsys: pytest.CaptureFixture[str]) -> None:
    build = Build("Llama-3-8B")
    row, peer = Row("decode", build), Row("decode", build, "compiled")
    found = {row.name: {"seconds": 0.005}, peer.name: {"seconds": 0.006}}
    failed = Row("exact", Build("Tiny"), prompt=PROMPT).name
    results: dict[str, Any] = {"machine": {"device": "a GPU"}, "rates": {"copy": 4e12, "product": 7e14}, "rows": found}
    results["rows"][failed] = {"failure": "no kernel"}
    print_table(results)
    lines = capsys.readouterr().out.splitlines()
    # 7.5 billion numbers of two bytes in 5 ms are 3 TB/s.
    assert any("5.000 ms" in line and "75%" in line and "1.20x" in line for line in lines)
    assert any("no kernel" in line for line in lines)


@pytest.mark.emulated_full
def test_logits_are_within_their_bound(tmp_path: Path) -> None:
    row = Row("exact", Build("Tiny", "f16"), prompt=PROMPT)
    write_bundle(tmp_path / "b", [row], "emulated", print)
    found = ours.measure(row, tmp_path / "b", emulated_engine)
    assert 0 < found["distance"] <= found["bound"]


def test_the_table_has_codes_over_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """2 ms and 128 tokens of 10 ms, over 4 ms and 128 of 5 ms."""
    floats, codes = Build("Llama-2-7B", "f16"), Build("Llama-2-7B", "f16", "w4a16-g128")
    prompts = {floats: 0.002, codes: 0.004}
    tokens = {floats: 0.01, codes: 0.005}
    found = {Row("prefill", build, batch=4, prompt=512).name: {"seconds": time} for build, time in prompts.items()}
    found |= {Row("decode", build, batch=4, prompt=512).name: {"seconds": time} for build, time in tokens.items()}
    print_table({"machine": {}, "rates": {}, "rows": found})
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "w4a16-g128 │ 4" in line)
    assert [cell.strip() for cell in line.split("│")[3:-1]] == ["512", "0.50x", "2.00x", "1.99x"]


SMALL = (Build("Tiny"), *(Build("Tiny", "f16", scheme) for scheme in ("w4a16-g32", "kv8")), Build("TinyMixture"))


@pytest.mark.emulated_full
@pytest.mark.parametrize("build", SMALL)
def test_every_launch_is_near_float64(build: Build, tmp_path: Path) -> None:
    row = Row("kernels", build, batch=3, prompt=5)
    write_bundle(tmp_path / "b", [row], "emulated", print)
    found = ours.measure(row, tmp_path / "b", emulated_engine)
    assert found["beyond"] == []
    assert found["launches"] > 50


def test_a_launch_beyond_its_bound_is_named() -> None:
    """What is a unit of float16 away is not, four are; integers are the same or not."""
    exact = torch.tensor([1.0, -2.0], dtype=torch.float64)
    near, far = (Finding("k", *distance_of(2.0**-11, exact + add, exact, exact)) for add in (2.0**-10, 2.0**-7))
    assert near.share < 1 < far.share
    nothing = Finding("k", *distance_of(2.0**-11, exact.log(), exact.log(), exact.log()))
    assert nothing.share == 0
    poisoned = Finding("k", *distance_of(2.0**-11, exact.log(), exact, exact))
    assert poisoned.share == float("inf")
    places = torch.tensor([1, 2])
    assert Finding("k", *distance_of(0.0, places + 1, places.double(), places)).share == float("inf")
    codes = torch.arange(-20, 20, dtype=torch.int8)
    changes = (codes * 0, codes == 3, codes % 2, 2 * (codes == 3))
    changed = [(codes + change).to(torch.int8) for change in changes]
    same, one, every_second, two = (Finding("k", *distance_of(2.0**-11, c, codes.double(), codes)) for c in changed)
    assert same.share == 0 < one.share < 1 < every_second.share < two.share == float("inf")
