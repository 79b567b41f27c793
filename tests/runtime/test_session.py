"""Starting a session: what does not fit the machine or its own manifest is refused in one line."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

from graphwright.runtime import ArtifactError, ArtifactWriter, SessionError, load
from graphwright.runtime.artifact import ModelInfo, Program, TensorSpec
from graphwright.runtime.cores import available_cores
from graphwright.runtime.cpu_features import check_cpu_features
from graphwright.runtime.onnxruntime_api import import_onnxruntime
from tests.runtime.program import TinyDecoder, decoder_model, program_entry, write_artifact


def test_importing_the_runtime_imports_none_of_its_libraries() -> None:
    heavy = (
        "onnxruntime",
        "tvm_ffi",
        "tokenizers",
        "jinja2",
        "pydantic",
        "numpy",
        "safetensors",
        "torch",
        "onnx",
        "transformers",
    )
    code = f"import sys, graphwright.runtime; print([m for m in {heavy!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_generating_from_ids_needs_neither_tokenizers_nor_jinja(tmp_path: Path, tiny: TinyDecoder) -> None:
    folder = write_artifact(tmp_path / "tiny", tiny)
    code = (
        "import sys, graphwright.runtime as r; r.load(sys.argv[1]).generate([1, 2], max_new_tokens=2);"
        "print([m for m in ('tokenizers', 'jinja2', 'torch', 'onnx', 'transformers') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_cuda_without_a_cuda_build(tmp_path: Path, tiny: TinyDecoder) -> None:
    if "CUDAExecutionProvider" in import_onnxruntime().get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    folder = write_artifact(tmp_path / "tiny", tiny)
    with pytest.raises(SessionError, match=r"device 'cuda' is not available: .*CUDAExecutionProvider"):
        load(folder, device="cuda")


def test_an_unknown_device_and_impossible_threads(tmp_path: Path, tiny: TinyDecoder) -> None:
    folder = write_artifact(tmp_path / "tiny", tiny)
    with pytest.raises(SessionError, match="device is 'tpu'; it must be one of cpu, cuda"):
        load(folder, device="tpu")  # type: ignore[arg-type]  # what an untyped caller may pass
    with pytest.raises(SessionError, match="threads is 0"):
        load(folder, threads=0)


def test_measured_options_are_set(tmp_path: Path, tiny: TinyDecoder) -> None:
    folder = write_artifact(tmp_path / "tiny", tiny)
    for threads, expected in ((None, available_cores()), (3, 3)):
        inference: Any = load(folder, threads=threads).loaded.session.executable.inference
        options = inference.get_session_options()
        assert options.intra_op_num_threads == expected
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "1"
        assert options.get_session_config_entry("session.disable_prepacking") == "0"


def test_a_program_of_another_backend(tmp_path: Path, tiny: TinyDecoder) -> None:
    program = program_entry(tiny).model_copy(update={"backend": "triton"})
    with pytest.raises(SessionError, match="the program is for the backend 'triton'"):
        load(write_artifact(tmp_path / "tiny", tiny, program=program))


def test_a_file_that_is_no_program(tmp_path: Path, tiny: TinyDecoder) -> None:
    with ArtifactWriter(tmp_path / "bad") as writer:
        writer.add_bytes("model.onnx", b"not a protobuf")
        writer.commit(
            producer="tests",
            model=ModelInfo(name="x", architecture="X", parameters=0, vocabulary_size=4, context_length=4),
            program=program_entry(tiny),
        )
    with pytest.raises(SessionError, match=r"model\.onnx cannot be loaded by ONNX Runtime"):
        load(tmp_path / "bad")


def test_external_data_outside_the_folder_is_refused(tmp_path: Path, tiny: TinyDecoder) -> None:
    (tmp_path / "secret").write_bytes(bytes(10_000))
    model = decoder_model(tiny)
    weight = next(constant for constant in model.graph.initializer if constant.name == "head")
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../secret")
    with ArtifactWriter(tmp_path / "bad") as writer:
        writer.add_bytes("model.onnx", model.SerializeToString())
        writer.commit(
            producer="tests",
            model=ModelInfo(name="x", architecture="X", parameters=0, vocabulary_size=40, context_length=32),
            program=program_entry(tiny),
        )
    with pytest.raises(SessionError, match="cannot be loaded"):
        load(tmp_path / "bad")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cache": ()}, "input past.0.key is tensor(float) in the program and absent in the manifest"),
        ({"cache": "float16"}, "input past.0.key is tensor(float) in the program and tensor(float16) in the manifest"),
        ({"cache": "renamed"}, "input elsewhere is absent in the program and tensor(float) in the manifest"),
    ],
)
def test_a_manifest_that_does_not_describe_the_program(
    tmp_path: Path, tiny: TinyDecoder, change: dict[str, object], message: str
) -> None:
    program = program_entry(tiny)
    first, second = program.cache
    caches = {
        "float16": (first.model_copy(update={"dtype": "float16"}), second),
        "renamed": (first.model_copy(update={"input": "elsewhere"}), second),
        (): (),
    }
    program = program.model_copy(update={"cache": caches[change["cache"]]})  # type: ignore[index]
    with pytest.raises(SessionError) as caught:
        load(write_artifact(tmp_path / "tiny", tiny, program=program))
    assert message in str(caught.value)


def test_a_function_is_not_a_model(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "f") as writer:
        writer.add_bytes("model.onnx", b"")
        spec = {"x": TensorSpec(dtype="float32", shape=())}
        program = Program(
            kind="function", backend="onnx", dialect="portable", file="model.onnx", inputs=spec, outputs=spec
        )
        writer.commit(producer="tests", model=ModelInfo(name="f", architecture="F", parameters=0), program=program)
    with pytest.raises(ArtifactError, match="holds a plain function, not a language model; load it with load_function"):
        load(tmp_path / "f")


CPUINFO = "processor\t: 0\nflags\t\t: fpu avx2 avx512f\n\nprocessor\t: 1\nflags\t\t: fpu avx2 avx512f\n"


def test_cpu_features(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    check_cpu_features([], tmp_path / "nowhere")
    check_cpu_features(["avx2", "avx512f"], tmp_path / "cpuinfo")
    with pytest.raises(SessionError, match="CPU features that this machine lacks: amx_tile, avx512_bf16; compile"):
        check_cpu_features(["avx512_bf16", "avx2", "amx_tile"], tmp_path / "cpuinfo")
    with pytest.raises(SessionError, match="cannot be read"):
        check_cpu_features(["avx2"], tmp_path / "nowhere")


def test_cpu_features_of_arm(tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text("Features\t: fp asimd i8mm\n")
    check_cpu_features(["i8mm"], tmp_path / "cpuinfo")


def test_a_program_for_another_cpu_does_not_start(tmp_path: Path, tiny: TinyDecoder) -> None:
    program = program_entry(tiny).model_copy(update={"cpu_features": ("a_feature_of_the_future",)})
    with pytest.raises(SessionError, match="lacks: a_feature_of_the_future"):
        load(write_artifact(tmp_path / "tiny", tiny, program=program))


def cpus(system: Path, siblings: dict[int, str]) -> None:
    for cpu, text in siblings.items():
        topology = system / f"devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(text)


def test_hardware_threads_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    assert available_cores(tmp_path) == 4
    cpus(tmp_path, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"})
    assert available_cores(tmp_path) == 2


@pytest.mark.parametrize(
    ("limit", "cores"), [("max 100000", 4), ("250000 100000", 2), ("50000 100000", 1), ("nonsense", 4)]
)
def test_a_containers_quota_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, cores: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1, 2, 3})
    (tmp_path / "fs/cgroup").mkdir(parents=True)
    (tmp_path / "fs/cgroup/cpu.max").write_text(limit + "\n")
    assert available_cores(tmp_path) == cores
