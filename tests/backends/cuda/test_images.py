"""Machine code of kernels: made in processes of their own, kept by content, and by what is known of its drivers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from graphwright.backends.cuda import image_cache
from graphwright.backends.cuda.backend import CudaBackend, CudaOptions
from graphwright.backends.cuda.emit import Variant
from graphwright.backends.cuda.gpu import EMULATED, GPUS, find_gpus
from graphwright.backends.cuda.image_cache import content_name, kernel_source
from graphwright.backends.cuda.images import EMULATED_MAGIC
from graphwright.backends.cuda.parallel_images import Task, images_of
from graphwright.backends.cuda.toolchain import PTXAS_VARIABLE, Toolchain, toolchain
from graphwright.ir.cache_folder import make_room
from graphwright.ir.errors import UnsupportedError, UserError
from graphwright.ir.progress import announcing

ROWS = "graphwright.backends.cuda.kernels.rows"
COUNT = Variant(
    "count",
    f"{ROWS}:count_up",
    (("y", "*i64"), ("COUNT", "i32")),
    (("BLOCK", 128), ("PDL", False)),
    warps=1,
    stages=1,
    written=("y",),
)
BROKEN = replace(COUNT, name="broken", constants=(("BLOCK", 100), ("PDL", False)))
"""Blocks are powers of two."""


@pytest.fixture(autouse=True)
def cubins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    make_room.cache_clear()
    yield tmp_path / "graphwright" / "cubins"
    make_room.cache_clear()


def test_code_is_made_once_and_kept(cubins: Path) -> None:
    """Of two architectures and the emulator, each task once; then none at all. A damaged file is made anew."""
    tasks = [Task(COUNT, gpu) for gpu in (GPUS["sm_80"], GPUS["sm_90"], EMULATED, GPUS["sm_80"])]
    said: list[str] = []
    with announcing(said.append):
        first = images_of(tasks)
    assert said == ["compile kernels: 1 of 2", "compile kernels: 2 of 2"]
    assert first[0] == first[3] != first[1]
    assert [image.code[:4] for image in first] == [b"\x7fELF", b"\x7fELF", EMULATED_MAGIC[:4], b"\x7fELF"]
    assert (first[0].symbol, first[0].threads, first[0].shared) == ("count_up", 32, 0)
    assert len(list(cubins.iterdir())) == 2
    assert images_of(tasks, program="there.is.none") == first
    damaged = sorted(cubins.iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:-1])
    said.clear()
    with announcing(said.append):
        assert images_of(tasks) == first
    assert said == ["compile kernels: 1 of 1"]


def test_a_kernel_that_does_not_compile_is_a_line() -> None:
    with pytest.raises(UnsupportedError, match=r"^kernel count_up for sm_90: .*must be a power of 2.*$") as error:
        images_of([Task(BROKEN, GPUS["sm_90"])])
    assert "\n" not in str(error.value)


def test_a_process_that_dies_is_a_line() -> None:
    with pytest.raises(UnsupportedError) as error:
        images_of([Task(COUNT, GPUS["sm_90"])], program="tests.backends.cuda.dying_process")
    assert str(error.value) == (
        "kernel count_up for sm_90: the process that compiles it died by SIGKILL, perhaps for lack of memory"
    )


def test_a_name_states_all_that_code_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    tools = Toolchain("3.9.0", "12.9.86", 12090, 575, Path("ptxas"), "13.0.88")
    gpu = GPUS["sm_90"]
    names = [
        content_name(COUNT, gpu, tools),
        content_name(COUNT, GPUS["sm_100"], tools),
        content_name(COUNT, gpu, replace(tools, triton="3.9.1")),
        content_name(COUNT, gpu, replace(tools, ptxas="12.9.87")),
        content_name(replace(COUNT, warps=2), gpu, tools),
        content_name(replace(COUNT, stages=2), gpu, tools),
        content_name(replace(COUNT, constants=(("BLOCK", 128), ("PDL", True))), gpu, tools),
        content_name(replace(COUNT, parameters=(("y", "*i32"), ("COUNT", "i32"))), gpu, tools),
        content_name(replace(COUNT, body=f"{ROWS}:copy_numbers"), gpu, tools),
    ]
    assert content_name(replace(COUNT, name="other"), gpu, replace(tools, path=Path("/ptxas"))) == names[0]

    def other_source(module: str) -> str:
        return f"other {module}"

    monkeypatch.setattr(image_cache, "kernel_source", other_source)
    names.append(content_name(COUNT, gpu, tools))
    assert len({*names}) == len(names)


def test_source_is_that_of_what_a_kernel_calls_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of a module that an imported one imports changes the hash, one of another module does not."""
    kernels = "graphwright.backends.cuda.kernels"
    imports = {"first": f"from {kernels}.second import a\n", "second": f"from {kernels}.third import b\n"}
    for name in ("first", "second", "third", "other"):
        (tmp_path / name).write_text(imports.get(name, ""))

    def path(module: str) -> Path:
        return tmp_path / module.removeprefix(f"{kernels}.")

    monkeypatch.setattr(image_cache, "_path", path)

    def digest() -> str:
        kernel_source.cache_clear()
        return kernel_source(f"{kernels}.first")

    before = digest()
    (tmp_path / "other").write_text("c = 1\n")
    assert digest() == before
    (tmp_path / "third").write_text("b = 1\n")
    assert digest() != before
    kernel_source.cache_clear()


@pytest.mark.parametrize(
    ("release", "driver"), [("12.8, V12.8.93", 570), ("12.9, V12.9.86", 575), ("13.0, V13.0.88", 580)]
)
def test_the_least_driver_is_told(release: str, driver: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tools = _ptxas(f"Cuda compilation tools, release {release}", tmp_path, monkeypatch)
    major, minor = map(int, release.split(",")[0].split("."))
    assert (tools.cuda, tools.driver, tools.ptxas) == (1000 * major + 10 * minor, driver, release.split("V")[1])
    assert tools.environment[PTXAS_VARIABLE] == tools.environment["TRITON_PTXAS_BLACKWELL_PATH"] == str(tools.path)


def test_a_ptxas_of_unknown_drivers_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnsupportedError, match=r"is of CUDA 13\.4, whose least driver is not known: take one of 12\.8"):
        _ptxas("Cuda compilation tools, release 13.4, V13.4.59", tmp_path, monkeypatch)
    with pytest.raises(UnsupportedError, match="does not say which version of ptxas it is"):
        _ptxas("hello", tmp_path / "b", monkeypatch)
    monkeypatch.setenv(PTXAS_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(UnsupportedError, match=r"ptxas does not start: .*No such file"):
        toolchain()


def _ptxas(says: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Toolchain:
    """The toolchain with a ptxas that says this of itself."""
    folder.mkdir(exist_ok=True)
    program = folder / "ptxas"
    program.write_text(f"#!/bin/sh\necho '{says}'\n")
    program.chmod(0o755)
    monkeypatch.setenv(PTXAS_VARIABLE, str(program))
    return toolchain()


def test_the_ptxas_of_the_package_is_for_driver_580_and_older() -> None:
    assert toolchain().cuda <= 13000


def test_architectures_by_name() -> None:
    assert find_gpus("sm_90a, sm_80,sm_90,emulated") == [GPUS["sm_90"], GPUS["sm_80"]]
    assert find_gpus("emulated") == []
    for name in ("sm_80a", "sm_91", "hopper", "", "sm_90aa"):
        with pytest.raises(UserError, match=f"^there is no architecture '{name}' to compile for: there are sm_80, "):
            CudaOptions(architectures=f"sm_90,{name}")


@pytest.mark.parametrize("found", ["3.6.0", "2.1", "3.8.1+git"])
def test_an_older_triton_is_a_line(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        return found

    monkeypatch.setattr("graphwright.backends.cuda.backend.version", version)
    problem = CudaBackend().missing()
    assert problem is not None
    assert problem.startswith(f"Triton {found} is installed, 3.9 or a later one is needed: ")
    assert "pip install -e '.[cuda-compile]'" in problem


def test_this_triton_is_new_enough() -> None:
    assert CudaBackend().missing() is None
