"""Code for other CPUs, measured by turns."""

from __future__ import annotations

from pathlib import Path

from benchmarks.targets import measured
from tests.runtime.native_decoder import native_program, write_native_artifact
from tests.runtime.program import TinyDecoder


def test_a_library_takes_its_turns_under_the_name_of_its_cpu(tmp_path: Path) -> None:
    tiny = TinyDecoder()
    program = native_program(tiny).model_copy(update={"target": "v3"})
    times = measured(write_native_artifact(tmp_path / "tiny", tiny, program), context=4, turns=2, threads=1)
    assert [*times] == ["v3"]
    assert len(times["v3"]) == 2
    assert min(times["v3"]) > 0
