"""Starting a session: what does not fit the machine or its own manifest is refused in one line."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import onnx
import pytest

from graphwright.runtime import (
    ArtifactError,
    ArtifactWriter,
    ContextError,
    KVCache,
    Model,
    SessionError,
    UserError,
    aligned,
    cache,
    cores,
    load,
)
from graphwright.runtime.artifact import Alternative, ModelInfo, Program, StateSpec, TensorSpec
from graphwright.runtime.cores import available_cores, usable_cpus
from graphwright.runtime.cpu_features import fitting_version
from graphwright.runtime.engines.onnxruntime import OnnxExecutable
from graphwright.runtime.onnxruntime_api import import_onnxruntime
from tests.runtime.native_decoder import write_native_artifact
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


def test_float32_is_not_rounded_on_gpus(tmp_path: Path, tiny: TinyDecoder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that says it has CUDA is asked for products of whole float32; it starts without, which is refused."""
    library = import_onnxruntime()
    asked: list[Any] = []

    def start(path: str, options: Any, *, providers: Any) -> Any:
        asked.extend(providers)
        return library.InferenceSession(path, options, providers=[("CPUExecutionProvider", {})])

    names = {name: getattr(library, name) for name in ("OrtValue", "SessionOptions")}
    claims = {"get_available_providers": lambda: ["CUDAExecutionProvider"], "InferenceSession": start}
    fake = SimpleNamespace(**names, **claims)
    monkeypatch.setattr("graphwright.runtime.engines.onnxruntime.import_onnxruntime", lambda: fake)
    folder = write_artifact(tmp_path / "tiny", tiny)
    with pytest.raises(SessionError, match="CUDAExecutionProvider did not start; look for missing CUDA"):
        load(folder, device="cuda")
    assert asked == [("CUDAExecutionProvider", {"use_tf32": "0"}), ("CPUExecutionProvider", {})]


def test_an_unknown_device(tmp_path: Path, tiny: TinyDecoder) -> None:
    folder = write_artifact(tmp_path / "tiny", tiny)
    with pytest.raises(SessionError, match="device is 'tpu'; it must be one of cpu, cuda"):
        load(folder, device="tpu")  # type: ignore[arg-type]  # what an untyped caller may pass


@pytest.mark.parametrize("threads", [0, -1, 5, 999, 2**70, True, 2.0, "2"])
def test_threads_that_cannot_all_run(
    tmp_path: Path, tiny: TinyDecoder, threads: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "usable_cpus", lambda: 4)
    for folder in (write_artifact(tmp_path / "onnx", tiny), write_native_artifact(tmp_path / "tvm", tiny)):
        with pytest.raises(SessionError) as caught:
            load(folder, threads=threads)
        assert str(caught.value) == f"threads is {threads!r}; this process may use 4 CPUs, so it must be 1 to 4"


def test_one_thread_where_there_is_one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cpus", lambda: 1)
    cores.check_threads(1)
    with pytest.raises(SessionError, match=r"threads is 2; this process may use 1 CPU, so it must be 1$"):
        cores.check_threads(2)


def test_measured_options_are_set(tmp_path: Path, tiny: TinyDecoder) -> None:
    folder = write_artifact(tmp_path / "tiny", tiny)
    for threads, expected in ((None, available_cores()), (3, 3)):
        executable = load(folder, threads=threads).loaded.session.executable
        assert isinstance(executable, OnnxExecutable)
        inference = cast(Any, executable.inference)  # declared with the few methods that the runtime itself calls
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
            model=ModelInfo(name="x", architecture="X", parameters=0, vocabulary_size=40, context_length=4),
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
        ("absent", "input past.0.key is tensor(float) in the program and absent in the manifest"),
        ("float16", "input past.0.key is tensor(float) in the program and tensor(float16) in the manifest"),
        ("renamed", "input elsewhere is absent in the program and tensor(float) in the manifest"),
    ],
)
def test_a_manifest_that_does_not_describe_the_program(
    tmp_path: Path, tiny: TinyDecoder, change: str, message: str
) -> None:
    program = program_entry(tiny)
    first, second = program.cache
    caches = {
        "float16": (first.model_copy(update={"dtype": "float16"}), second),
        "renamed": (first.model_copy(update={"input": "elsewhere"}), second),
        "absent": (),
    }
    program = program.model_copy(update={"cache": caches[change]})
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


def for_cpu(tiny: TinyDecoder, *features: str, **more: object) -> Program:
    return program_entry(tiny).model_copy(update={"cpu_features": features, **more})


def test_cpu_features(tmp_path: Path, tiny: TinyDecoder) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    fitting_version(for_cpu(tiny), tmp_path / "nowhere")
    fitting_version(for_cpu(tiny, "avx2", "avx512f"), tmp_path / "cpuinfo")
    with pytest.raises(SessionError, match="CPU features that this machine lacks: amx_tile, avx512_bf16; compile"):
        fitting_version(for_cpu(tiny, "avx512_bf16", "avx2", "amx_tile"), tmp_path / "cpuinfo")
    with pytest.raises(SessionError, match="cannot be read"):
        fitting_version(for_cpu(tiny, "avx2"), tmp_path / "nowhere")


def test_cpu_features_of_arm(tmp_path: Path, tiny: TinyDecoder) -> None:
    (tmp_path / "cpuinfo").write_text("Features\t: fp asimd i8mm\n")
    fitting_version(for_cpu(tiny, "i8mm"), tmp_path / "cpuinfo")


def test_of_several_versions_the_best_that_fits_is_run(tmp_path: Path, tiny: TinyDecoder) -> None:
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    names = {"wide": ("avx512f", "amx_tile"), "middle": ("avx512f",), "narrow": ("avx2",)}
    best, *others = (
        Alternative(target=name, dialect=name, file=f"{name}.so", cpu_features=features)
        for name, features in names.items()
    )
    program = for_cpu(tiny, *best.cpu_features, target="wide", file=best.file, alternatives=tuple(others))
    assert program.files == ("wide.so", "middle.so", "narrow.so")
    chosen = fitting_version(program, tmp_path / "cpuinfo")
    assert (chosen.target, chosen.file, chosen.cpu_features) == ("middle", "middle.so", ("avx512f",))
    assert chosen.inputs == program.inputs
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu avx512f amx_tile\n")
    assert fitting_version(program, tmp_path / "cpuinfo").target == "wide"
    (tmp_path / "cpuinfo").write_text("flags\t\t: fpu\n")
    lacks = "lacks: for wide amx_tile, avx512f; for middle avx512f; for narrow avx2; compile the model"
    with pytest.raises(SessionError, match=lacks):
        fitting_version(program, tmp_path / "cpuinfo")


def test_a_program_for_another_cpu_does_not_start(tmp_path: Path, tiny: TinyDecoder) -> None:
    program = program_entry(tiny).model_copy(update={"cpu_features": ("a_feature_of_the_future",)})
    with pytest.raises(SessionError, match="lacks: a_feature_of_the_future"):
        load(write_artifact(tmp_path / "tiny", tiny, program=program))


def cpus(system: Path, siblings: dict[int, str]) -> None:
    for cpu, text in siblings.items():
        topology = system / f"devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "thread_siblings_list").write_text(text)


def four_cpus(process: int) -> set[int]:
    return {0, 1, 2, 3}


def test_hardware_threads_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", four_cpus)
    assert available_cores(tmp_path) == 4
    cpus(tmp_path, {0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"})
    assert available_cores(tmp_path) == 2


@pytest.mark.parametrize(
    ("limit", "used", "most"),
    [("max 100000", 4, 4), ("250000 100000", 2, 3), ("50000 100000", 1, 1), ("nonsense", 4, 4)],
)
def test_a_containers_quota_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, used: int, most: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", four_cpus)
    (tmp_path / "fs/cgroup").mkdir(parents=True)
    (tmp_path / "fs/cgroup/cpu.max").write_text(limit + "\n")
    assert available_cores(tmp_path) == used
    assert usable_cpus(tmp_path) == most


def test_more_memory_than_the_machine_has_is_not_asked_for(
    tmp_path: Path, tiny: TinyDecoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = load(write_artifact(tmp_path / "tiny", tiny)).loaded.session
    with pytest.raises(ContextError, match=r"cache for 1 x \d+ tokens needs .* GiB, more than this machine has"):
        KVCache(session, 1, 2**60)
    state = StateSpec(input="a", output="b", dtype="float32", shape=("batch", 2**10))
    session.program = session.program.model_copy(update={"states": (state,)})
    monkeypatch.setattr(cache, "total_memory", lambda: 2**11 - 1)
    with pytest.raises(ContextError, match=r"needs .* GiB, more than this machine has left"):
        KVCache(session, 1, 1)


def test_arrays_larger_than_memory_are_not_asked_for(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aligned, "total_memory", lambda: 600)
    with pytest.raises(UserError, match=r"memory|more than this machine has left"):
        model.logits([[1, 2, 3, 4]])
    with pytest.raises(MemoryError):
        aligned.aligned_empty((2**40, 2**40), np.float32)


def test_memory_is_held_to_the_containers_bound(tmp_path: Path) -> None:
    whole = aligned.total_memory(tmp_path)
    assert whole > 2**28
    (tmp_path / "a/fs/cgroup").mkdir(parents=True)
    for text, expected in (("max\n", whole), ("1048576\n", 2**20)):
        (tmp_path / "a/fs/cgroup/memory.max").write_text(text)
        aligned.total_memory.cache_clear()
        assert aligned.total_memory(tmp_path / "a") == expected
    aligned.total_memory.cache_clear()
