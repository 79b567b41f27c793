"""Libraries made by TVM: which function is called with what, and every way in which one does not fit."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from graphwright.runtime import SessionError, load_function, open_artifact
from graphwright.runtime.aligned import aligned_zeros
from graphwright.runtime.artifact import FunctionSpec, TensorSpec
from graphwright.runtime.element_types import ELEMENT_TYPES
from graphwright.runtime.engines.tvm import TvmEngine
from graphwright.runtime.engines.tvm_call import KEPT
from tests.runtime.engines.probes import BYTES_EACH, facts, write_probe
from tests.runtime.program import TinyDecoder
from tests.runtime.tvm_decoder import write_tvm_artifact
from tests.runtime.tvm_libraries import PAGE


def numbers(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float32)


def test_the_first_function_that_takes_the_sizes_is_called(tmp_path: Path, library: Path) -> None:
    function = load_function(write_probe(tmp_path / "f", library), threads=2)
    for n, expected in ((1, 0), (2, 1), (3, 2), (1, 0)):
        told = facts(function(x=numbers(n)))
        assert told["function"] == expected
        assert told["threads"] == 2
        assert told["n"] == n - 1
        assert told["weight"] == 9
        assert told["workspace"] >= PAGE + BYTES_EACH * n


def test_workspace_is_zero_when_new_and_kept_while_it_is_not_far_too_large(tmp_path: Path, library: Path) -> None:
    function = load_function(write_probe(tmp_path / "f", library), threads=1)
    told = [facts(function(x=numbers(n))) for n in (3, 3, 1, 40, 39, 2, 2)]
    assert KEPT < 40 * BYTES_EACH
    assert [each["calls before"] for each in told] == [0, 1, 2, 0, 1, 0, 1]
    assert [(each["workspace"] - PAGE) // BYTES_EACH for each in told] == [3, 3, 3, 40, 40, 2, 2]


def test_inputs_that_memory_holds_otherwise_are_copied(tmp_path: Path, library: Path) -> None:
    function = load_function(write_probe(tmp_path / "f", library), threads=1)
    frozen = numbers(3)
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"." + numbers(3).tobytes(), dtype=np.float32, offset=1)
    for x in (frozen, unaligned, numbers(5)[::2] / 2):
        assert facts(function(x=x))["n"] == 2


@pytest.mark.parametrize("dtype", ELEMENT_TYPES)
def test_every_element_type_is_a_view(tmp_path: Path, library: Path, dtype: Any) -> None:
    engine = TvmEngine(open_artifact(write_probe(tmp_path / "f", library)), threads=1, device="cpu")
    array = aligned_zeros((2, 3), ELEMENT_TYPES[dtype].storage)
    value = engine.view(array, dtype)
    tensor: Any = value.tensor
    assert str(tensor.dtype) == dtype
    assert tensor.shape == (2, 3)
    assert tensor.data_ptr() == array.ctypes.data
    value.update_inplace(np.ones_like(array))
    assert array.all()
    value.update_inplace(engine.place(aligned_zeros((2, 3), array.dtype), dtype))
    assert not array.any()


def test_memory_that_is_not_aligned_is_no_value(tmp_path: Path, library: Path) -> None:
    engine = TvmEngine(open_artifact(write_probe(tmp_path / "f", library)), threads=1, device="cpu")
    with pytest.raises(RuntimeError, match="not aligned to 64 bytes"):
        engine.view(aligned_zeros((9,), np.uint8)[1:], "uint8")


def test_a_call_that_the_function_refuses(tmp_path: Path, library: Path) -> None:
    inputs = {"x": TensorSpec(dtype="float64", shape=("n",))}
    function = load_function(write_probe(tmp_path / "f", library, inputs=inputs), threads=2)
    with pytest.raises(SessionError, match=r"program\.so: the program failed: .*dtype.*expected float32") as caught:
        function(x=np.zeros(3))
    assert "\n" not in str(caught.value)


def test_more_workspace_than_memory(tmp_path: Path, library: Path) -> None:
    program_dimension = {"x": TensorSpec(dtype="float32", shape=("n", 0))}
    function = load_function(write_probe(tmp_path / "f", library, inputs=program_dimension), threads=1)
    with pytest.raises(SessionError, match="no memory left for a step of these sizes; use a shorter prompt"):
        function(x=np.zeros((1 << 40, 0), dtype=np.float32))


def test_what_cannot_be_loaded(tmp_path: Path, library: Path) -> None:
    missing = write_probe(tmp_path / "missing", library, functions=(FunctionSpec(name="other"),))
    with pytest.raises(SessionError, match=r"program\.so has no function other, which the manifest names"):
        load_function(missing)
    with pytest.raises(SessionError, match="device 'cuda' is not available: a program of the backend 'tvm'"):
        load_function(write_probe(tmp_path / "f", library), device="cuda")
    (tmp_path / "junk").write_bytes(b"no library")
    with pytest.raises(SessionError, match=r"program\.so is cut short"):
        load_function(write_probe(tmp_path / "g", tmp_path / "junk"))
    with pytest.raises(SessionError, match="lacks: a_feature_of_the_future"):
        load_function(write_probe(tmp_path / "h", library, cpu_features=("a_feature_of_the_future",)))


def test_weights_that_cannot_be_mapped(tmp_path: Path, library: Path) -> None:
    folder = write_probe(tmp_path / "f", library)
    artifact = open_artifact(folder)
    (folder / "weights.safetensors").write_bytes(b"")
    with pytest.raises(SessionError, match=r"weights\.safetensors cannot be mapped: .*empty"):
        TvmEngine(artifact, threads=1, device="cpu")


def test_running_needs_neither_the_compiler_nor_torch_nor_onnx_runtime(tmp_path: Path, tiny: TinyDecoder) -> None:
    folder = write_tvm_artifact(tmp_path / "tiny", tiny)
    code = (
        "import sys, graphwright.runtime as r; m = r.load(sys.argv[1], threads=2)"
        "; print(m.generate([1, 2], max_new_tokens=5));"
        "print([m for m in ('tvm', 'torch', 'onnxruntime', 'onnx', 'transformers') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [str(tiny.greedy([1, 2], 5)), "[]"]
    assert result.stderr == ""


def test_without_tvm_it_says_what_to_install(tmp_path: Path, library: Path) -> None:
    folder = write_probe(tmp_path / "f", library)
    code = (
        "import sys; sys.modules['tvm_ffi'] = None; import graphwright.runtime as r\n"
        "try: r.load_function(sys.argv[1])\n"
        "except r.SessionError as error: print(error)"
    )
    result = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert "TVM's runtime cannot be loaded (" in result.stdout
    assert "pip install -e '.[tvm]'" in result.stdout
