"""Libraries of compiled steps: which function is called with what, and every way in which one does not fit."""

import shutil
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
from graphwright.runtime.engines.native import NativeEngine
from graphwright.runtime.engines.native_call import KEPT
from graphwright.runtime.engines.native_library import NativeValue, Tensor, load_functions
from tests.runtime.engines.probes import BYTES_EACH, FAILS, facts, write_probe
from tests.runtime.native_decoder import write_native_artifact
from tests.runtime.native_libraries import export
from tests.runtime.program import TinyDecoder


def numbers(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.float32)


def test_the_first_function_that_takes_the_sizes_is_called(tmp_path: Path, library: Path) -> None:
    function = load_function(write_probe(tmp_path / "f", library), threads=2)
    for n, expected in ((1, 0), (2, 1), (3, 2), (1, 0)):
        told = facts(function(x=numbers(n)))
        assert told["function"] == expected
        assert told["threads"] in (1, 2)
        assert told["n"] == n - 1
        assert told["weight"] == 9
        assert told["workspace"] >= BYTES_EACH * n


def test_workspace_is_kept_while_it_is_not_far_too_large(tmp_path: Path, library: Path) -> None:
    function = load_function(write_probe(tmp_path / "f", library), threads=1)
    told = [facts(function(x=numbers(n))) for n in (3, 3, 1, 40, 39, 2, 2)]
    assert KEPT < 40 * BYTES_EACH
    assert [each["workspace"] // BYTES_EACH for each in told] == [3, 3, 3, 40, 40, 2, 2]


def test_inputs_that_memory_holds_otherwise_are_copied(tmp_path: Path, library: Path) -> None:
    function = load_function(write_probe(tmp_path / "f", library), threads=1)
    frozen = numbers(3)
    frozen.flags.writeable = False
    unaligned = np.frombuffer(b"." + numbers(3).tobytes(), dtype=np.float32, offset=1)
    for x in (frozen, unaligned, numbers(5)[::2] / 2):
        assert facts(function(x=x))["n"] == 2


@pytest.mark.parametrize("dtype", ELEMENT_TYPES)
def test_every_element_type_is_a_view(tmp_path: Path, library: Path, dtype: Any) -> None:
    engine = NativeEngine(open_artifact(write_probe(tmp_path / "f", library)), threads=1, device="cpu")
    array = aligned_zeros((2, 3), ELEMENT_TYPES[dtype].storage)
    value = engine.view(array, dtype)
    assert value.tensor.data == array.ctypes.data
    assert [value.tensor.shape[axis] for axis in range(value.tensor.rank)] == [2, 3]
    assert value.tensor.bits == 8 * array.itemsize
    value.update_inplace(np.ones_like(array))
    assert array.all()
    value.update_inplace(engine.place(aligned_zeros((2, 3), array.dtype), dtype))
    assert not array.any()


def test_memory_that_is_not_aligned_is_no_value(tmp_path: Path, library: Path) -> None:
    engine = NativeEngine(open_artifact(write_probe(tmp_path / "f", library)), threads=1, device="cpu")
    with pytest.raises(ValueError, match="not aligned to 64 bytes"):
        engine.view(aligned_zeros((9,), np.uint8)[1:], "uint8")


def test_a_call_that_the_function_refuses(tmp_path: Path, library: Path) -> None:
    inputs = {"x": TensorSpec(dtype="float64", shape=("n",))}
    function = load_function(write_probe(tmp_path / "f", library, inputs=inputs), threads=2)
    with pytest.raises(SessionError, match=r"program\.so: a tensor that any is given has another type") as caught:
        function(x=np.zeros(3))
    assert "\n" not in str(caught.value)


def test_a_call_that_fails(tmp_path: Path, library: Path) -> None:
    function = load_function(write_probe(tmp_path / "f", library), threads=1)
    with pytest.raises(SessionError, match=r"program\.so: any failed"):
        function(x=numbers(FAILS))


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
        NativeEngine(artifact, threads=1, device="cpu")


def test_running_needs_neither_the_compiler_nor_torch_nor_onnx_runtime(tmp_path: Path, tiny: TinyDecoder) -> None:
    folder = write_native_artifact(tmp_path / "tiny", tiny)
    code = (
        "import sys, graphwright.runtime as r; m = r.load(sys.argv[1], threads=2)"
        "; print(m.generate([1, 2], max_new_tokens=5));"
        "print([m for m in ('tvm', 'torch', 'onnxruntime', 'onnx', 'transformers') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [str(tiny.greedy([1, 2], 5)), "[]"]
    assert result.stderr == ""


def test_another_library_at_the_same_path_is_another(tmp_path: Path, library: Path, tiny: TinyDecoder) -> None:
    """What is loaded stays loaded, and the system knows it by its path."""
    one, other = tmp_path / "one.so", tmp_path / "other.so"
    for path, number in ((one, 5), (other, 6)):
        export({"f": (f"*(int64_t *)given[0].data = {number};", "0")}, path)
    found: list[int] = []
    for path in (one, one, other):
        shutil.copy(path, tmp_path / "new.so")
        (tmp_path / "new.so").replace(tmp_path / "program.so")
        (function,) = load_functions(tmp_path / "program.so", [FunctionSpec(name="f")])
        result = NativeValue(aligned_zeros((1,), np.int64), "int64")
        assert function.run((Tensor * 1)(result.tensor), 1) == 0
        found.append(int(result.array[0]))
    assert found == [5, 5, 6]
