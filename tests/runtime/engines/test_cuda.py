"""The engine for GPUs, over the stand-in for the driver: what it refuses in a line, and what it does with memory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphwright.emulating import emulated_engine
from graphwright.runtime import ArtifactError, ContextError, SessionError, load
from graphwright.runtime.cache import KVCache
from graphwright.runtime.cuda_api import NoDeviceError
from graphwright.runtime.engines.cuda import CHUNK, CudaEngine, check_driver
from graphwright.runtime.engines.cuda_program import CompiledBy, Target, read_program
from graphwright.runtime.engines.engine import Signature
from graphwright.runtime.progress import loading_shown
from tests.emulator.tiny import built, driver, tiny


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(built(), tmp_path / "a"))


def spoiled(artifact: Path, kernel: str, **facts: Any) -> None:
    """Changes what the program file says of the first kernel whose name begins so."""
    file = artifact / "program.json"
    program = json.loads(file.read_text())
    kernels = program["targets"]["emulated"]["kernels"]
    kernels[next(name for name in kernels if name.startswith(kernel))] |= facts
    file.write_text(json.dumps(program))


@contextmanager
def device_of(size: int) -> Generator[None]:
    """A device that has so many bytes left."""
    emulator, cuda = driver()
    left, total = cuda.memory()
    emulator.library.emulator_limit(total - left + size)
    try:
        yield
    finally:
        emulator.library.emulator_limit(0)


def test_a_damaged_kernel_is_named(artifact: Path) -> None:
    file = artifact / "emulated.kernels"
    code = bytearray(file.read_bytes())
    code[40] ^= 1
    file.write_bytes(code)
    with pytest.raises(ArtifactError, match=r"emulated.kernels: the code of kernel \w+ is damaged: compile again"):
        load(artifact, engine=emulated_engine, verify=False)


def test_a_kernel_that_takes_other_parameters_is_named(artifact: Path) -> None:
    program = json.loads((artifact / "program.json").read_text())["targets"]["emulated"]["kernels"]
    name = next(name for name in program if name.startswith("rms_norm"))
    spoiled(artifact, name, scratch_pointers=2)
    with pytest.raises(ArtifactError, match=rf"kernel {name} takes parameters of \[8, 8, 8\] bytes, the plan gives"):
        load(artifact, engine=emulated_engine, verify=False)


def test_a_kernel_beyond_the_end_of_its_file_is_named(artifact: Path) -> None:
    kernels = json.loads((artifact / "program.json").read_text())["targets"]["emulated"]["kernels"]
    last = max(kernels, key=lambda name: kernels[name]["offset"])
    spoiled(artifact, last, bytes=999)  # as many digits: the file's size is checked first
    with pytest.raises(ArtifactError, match=f"ends before kernel {last}: compile again"):
        load(artifact, engine=emulated_engine, verify=False)


def test_without_a_gpu_the_emulator_is_named(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> None:
        raise NoDeviceError("there is no CUDA device here: the driver finds none")

    monkeypatch.setattr("graphwright.runtime.engines.cuda.cuda", none)
    with pytest.raises(SessionError, match=r"finds none; `graphwright generate .* --device emulator` runs it without"):
        load(artifact)


def test_weights_that_do_not_fit_are_refused_before_they_are_read(artifact: Path) -> None:
    with device_of(1000), pytest.raises(SessionError, match=r"the weights of .* need 0.00 GiB, the GPU has 0.00 GiB"):
        load(artifact, engine=emulated_engine)


def test_a_context_that_does_not_fit_is_refused_before_any_work() -> None:
    model = tiny()
    needed = KVCache.bytes_for(model.manifest, 3, 64)
    with (
        device_of(needed - 1),
        pytest.raises(ContextError, match=r"a KV cache for 3 x 64 tokens needs .* GiB, the GPU"),
    ):
        KVCache(model.loaded.session, 3, 64)


def test_weights_go_to_the_device_in_chunks_and_say_how_far_they_are(
    artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two buffers take turns; one that is filled again too early would show, as the stand-in copies late."""
    assert CHUNK == 1 << 24
    monkeypatch.setattr("graphwright.runtime.engines.cuda.CHUNK", 5000)
    told = list[tuple[int, int]]()
    with loading_shown(lambda _, done, total: told.append((done, total))):
        model = load(artifact, engine=emulated_engine)
    weights = np.fromfile(artifact / "weights.safetensors", np.uint8)
    engine = model.loaded.session.engine
    assert isinstance(engine, CudaEngine)
    assert np.array_equal(engine.weights.numpy(), weights)
    assert told == [(min(end, len(weights)), len(weights)) for end in range(5000, len(weights) + 5000, 5000)]


def test_rows_are_copied_and_cleared_on_the_device() -> None:
    engine = tiny().loaded.session.engine
    assert isinstance(engine, CudaEngine)
    content = np.arange(24, dtype=np.float32).reshape(4, 3, 2)
    value, other = engine.place(content, "float32"), engine.zeros((4, 3, 2), "float32", "other")
    assert (other.numpy() == 0).all()
    other.copy_rows(value, [1, 3])
    value.clear_rows([0, 1])
    assert np.array_equal(other.numpy(), content * np.array([0, 1, 0, 1])[:, None, None])
    assert np.array_equal(value.numpy(), content * np.array([0, 0, 1, 1])[:, None, None])


def test_a_forked_process_refuses_in_a_line() -> None:
    _, cuda = driver()
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with cuda.active():
                said = "it went on"
        except SessionError as error:
            said = str(error)
        os.write(writes, said.encode())
        os._exit(0)
    os.close(writes)
    os.waitpid(child, 0)
    with os.fdopen(reads, "rb") as pipe:
        assert pipe.read().decode().startswith("this process was forked from one that uses the GPU")


def test_a_driver_that_is_too_old_is_a_line() -> None:
    compiled_by = CompiledBy(triton="3.9.0", ptxas="12.9.86", cuda=12090, driver=575)
    target = Target(compiled_by=compiled_by, kernels={}, fills=(), graphs={})
    check_driver(target, 12090, "out")
    with pytest.raises(SessionError) as caught:
        check_driver(target, 12040, "out")
    assert str(caught.value) == (
        "the kernels of out need a driver for CUDA 12.9, the one here is for 12.4: install NVIDIA's driver 575 or a "
        "later one"
    )


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("programs", [["batch"]], "a term of a size is a factor and names of dimensions"),
        ("programs", [list[int]()], "a term of a size is a factor and names of dimensions"),
        ("buffers", [dict[str, int]()], "a buffer is one of given, stored and slot"),
        ("buffers", [{"given": "x", "slot": 0}], "a buffer is one of given, stored and slot"),
        ("buffers", [{"slot": 999}], "a launch uses a slot that is not there"),
    ],
)
def test_a_launch_that_says_nothing_true_is_refused(part: str, value: list[Any], message: str) -> None:
    content = json.loads((built() / "program.json").read_text())
    launch: dict[str, list[Any]] = content["targets"]["emulated"]["graphs"]["decode"]["launches"][-1]
    launch[part] = value + launch[part][1:] if part == "buffers" else value
    with pytest.raises(ArtifactError, match=f"program.json is damaged: .*{message}.*; compile again"):
        read_program(json.dumps(content), "program.json")


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("programs", [[1, "elsewhere"]], "graph decode has a size 'elsewhere'"),
        ("given", "stranger", "graph decode uses 'stranger'"),
    ],
)
def test_a_launch_of_what_the_manifest_does_not_have_is_refused(
    part: str, value: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny()
    engine = model.loaded.session.engine
    assert isinstance(engine, CudaEngine)
    content = json.loads((built() / "program.json").read_text())
    launch = content["targets"]["emulated"]["graphs"]["decode"]["launches"][-1]
    if part == "given":
        launch["buffers"][0] = {"given": value}
    else:
        launch[part] = value
    monkeypatch.setattr(engine, "target", read_program(json.dumps(content), "program.json").targets["emulated"])
    with pytest.raises(ArtifactError, match=f"{message}; compile again"):
        engine.load(Signature.of_program(model.manifest.program))
