"""What doctor says about packages and machines other than this one."""

from pathlib import Path

import pytest

from graphwright.machines import diagnosis
from graphwright.machines.diagnosis import diagnose, memory_text, package_problems, vector_features
from graphwright.runtime import SessionError, onnxruntime_api
from tests.graphwright.commands import Commands


def test_two_onnx_runtimes_clash() -> None:
    (problem,) = package_problems({"onnxruntime": "1.23", "onnxruntime-gpu": "1.23"})
    assert "pip uninstall -y onnxruntime onnxruntime-gpu" in problem


def test_one_is_enough_and_libraries_of_our_own_need_none() -> None:
    assert package_problems({}) == []
    assert package_problems({"onnxruntime": "1.23", "onnxruntime-gpu": None}) == []
    assert package_problems({"onnxruntime": None, "onnxruntime-gpu": "1.23"}) == []


def test_tvm_alone_runs_programs_if_it_is_whole() -> None:
    assert package_problems({"apache-tvm": "0.27.0", "apache-tvm-ffi": "0.1.14.post0"}) == []
    (problem,) = package_problems({"apache-tvm": "0.27.0"})
    assert "apache-tvm-ffi, which is missing: in the clone, run `pip install -e '.[tvm]'`" in problem
    (problem,) = package_problems({"apache-tvm": "0.27.0", "apache-tvm-ffi": "0.1.15"})
    assert "apache-tvm-ffi 0.1.15 crashes while kernels are compiled" in problem


def test_a_library_that_cannot_be_loaded_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise SessionError("it cannot be loaded")

    monkeypatch.setattr(onnxruntime_api, "import_onnxruntime", broken)
    versions = {name: "0.1.14" for name in diagnosis.PACKAGES if name != "onnxruntime-gpu"}
    monkeypatch.setattr(diagnosis, "_version", versions.get)
    assert diagnose().problems == ("it cannot be loaded",)


def test_the_linker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "_version", {"apache-tvm": "0.27"}.get)
    monkeypatch.setenv("CXX", "/opt/clang")
    assert dict(diagnose().facts)["linker"] == "/opt/clang"
    monkeypatch.delenv("CXX")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "")
    assert "install gcc or clang" in dict(diagnose().facts)["linker"]


def test_the_command_reports_a_clash_and_fails(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    def both(name: str) -> str | None:
        return "1.0" if name.startswith("onnxruntime") else None

    monkeypatch.setattr(diagnosis, "_version", both)
    outcome = commands.run("doctor")
    assert outcome.status == 1
    assert outcome.errors.startswith("error: onnxruntime and onnxruntime-gpu are both installed")
    assert "torch            not installed" in outcome.output


def test_this_machine() -> None:
    facts = dict(diagnose().facts)
    assert "CPUExecutionProvider" in facts["devices"]
    assert int(facts["threads"].split()[0]) >= 1


def test_vector_features_on_x86_and_arm(tmp_path: Path) -> None:
    (tmp_path / "x86").write_text("model name\t: X\nflags\t\t: fpu avx avx2 fma avx512_vnni\n")
    (tmp_path / "arm").write_text("Features\t: fp asimd sve\n")
    assert vector_features(tmp_path / "x86") == ["avx", "avx2", "fma", "avx512_vnni"]
    assert vector_features(tmp_path / "arm") == ["asimd", "sve"]
    assert vector_features(tmp_path / "absent") == []


def test_memory(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:       2097152 kB\nMemAvailable:   1048576 kB\n")
    assert memory_text(tmp_path / "meminfo") == "1.0 GiB available of 2.0 GiB"
    (tmp_path / "odd").write_text("nonsense\n")
    assert memory_text(tmp_path / "odd") == "unknown"
