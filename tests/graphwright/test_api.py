"""The Python functions, on a small checkpoint and on a module of our own."""

import gc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import graphwright
from graphwright import CompiledModel, UsageError
from graphwright.ir import PassError, UnsupportedError, WeightError
from graphwright.passes import parse_passes
from graphwright.runtime import ArtifactError, ContextError, GenerationError, SessionError, cuda_api
from tests.graphwright import models
from tests.pretrained import language_model

IDS = [[3, 14, 15, 9, 26], [5, 35, 8, 9, 7]]


@pytest.fixture(scope="module")
def compiled(artifact: Path) -> CompiledModel:
    return graphwright.load(artifact, threads=1)


@pytest.fixture(scope="module")
def eager(checkpoint: Path) -> torch.nn.Module:
    return language_model(checkpoint)


def test_threads_that_there_are_not_are_found_before_the_work() -> None:
    for work in (graphwright.compile, graphwright.compile_function):
        with pytest.raises(SessionError, match="threads is 999; this process may use"):
            work("absent", threads=999)
    with pytest.raises(SessionError, match="threads is 999; this process may use"):
        graphwright.evaluate("absent", "absent", threads=999)


def greedy(eager: torch.nn.Module, prompt: list[int], count: int) -> list[int]:
    """The reference without a cache: the whole sequence again for each token."""
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(eager(torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == 2:
            break
    return ids[len(prompt) :]


def test_logits_are_the_models_own(compiled: CompiledModel, eager: torch.nn.Module) -> None:
    logits = compiled.logits(IDS)
    assert logits.dtype == np.float32
    assert logits.shape == (2, 5, compiled.manifest.model.vocabulary_size)
    with torch.no_grad():
        expected = eager(torch.tensor(IDS)).logits
    # Both compute in float32; sums of at most 48 products of numbers near 1 differ by their order alone.
    torch.testing.assert_close(torch.as_tensor(logits), expected, atol=48 * 2**-23, rtol=1e-5)


def test_ragged_batches_continue_each_prompt_as_if_alone(compiled: CompiledModel, eager: torch.nn.Module) -> None:
    prompts = [[1, 17], [1, 5, 40, 41, 42, 43, 44], [9]]
    assert compiled.generate(prompts, max_new_tokens=8) == [greedy(eager, prompt, 8) for prompt in prompts]


def test_text_gives_text_and_streams_it(compiled: CompiledModel) -> None:
    pieces: list[str] = []
    text = compiled.generate("hello", max_new_tokens=8, stream=pieces.append)
    assert "".join(pieces) == text
    assert compiled.generate(["hello"], max_new_tokens=8) == [text]


def test_a_module_of_ones_own_is_compiled_and_left_alone() -> None:
    module = models.Own().train()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    compiled = graphwright.compile(module, max_context=32)
    assert module.training
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    expected = module.eval()(torch.tensor(IDS)).detach()
    torch.testing.assert_close(torch.as_tensor(compiled.logits(IDS)), expected, atol=16 * 2**-23, rtol=1e-5)
    assert compiled.manifest.model.vocabulary_size == models.VOCABULARY
    assert compiled.manifest.model.context_length == 32


def test_the_artifact_lives_as_long_as_the_model_unless_it_is_saved(tmp_path: Path) -> None:
    compiled = graphwright.compile(models.Own(), max_context=16)
    expected, folder = compiled.logits(IDS), compiled.folder
    compiled.save(tmp_path / "saved")
    assert folder.is_dir()
    del compiled
    gc.collect()
    assert not folder.parent.exists()
    loaded = graphwright.load(tmp_path / "saved")
    assert np.array_equal(loaded.logits(IDS), expected)
    assert loaded.report is None


def test_saving_replaces_artifacts_only(compiled: CompiledModel, artifact: Path, tmp_path: Path) -> None:
    compiled.save(tmp_path / "out")
    compiled.save(tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in artifact.iterdir())
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("keep me")
    with pytest.raises(ArtifactError, match="was not written by this command"):
        compiled.save(tmp_path / "notes")
    assert (tmp_path / "notes" / "todo.txt").read_text() == "keep me"


def test_the_report_names_stages_and_passes(tmp_path: Path) -> None:
    stages: list[str] = []
    compiled = graphwright.compile(models.Own(), max_context=16, output=tmp_path / "out", on_stage=stages.append)
    report = compiled.report
    assert report is not None
    assert [stage.name for stage in report.stages] == ["capture", "check weights", "optimize", "write"]
    ran = [record.name for record in report.passes.records] if report.passes is not None else []
    first = ran.index("merge-phases")
    optimizing, lowering = [f"optimize: {name}" for name in ran[:first]], [f"lower: {name}" for name in ran[first:]]
    assert stages == ["capture", "check weights", "optimize", *optimizing, "write", *lowering]
    assert ran[-1] == "ort-accepted"
    assert report.seconds == sum(stage.seconds for stage in report.stages) > 0
    assert report.folder == compiled.folder == tmp_path / "out"
    assert report.passes is not None
    assert "insert-kv-cache" in [record.name for record in report.passes.records]


def test_the_graph_of_a_loaded_model(compiled: CompiledModel) -> None:
    assert list(compiled.graph.graphs) == ["prefill"]
    assert "past.0.key" in [value.name for value in compiled.graph.graphs["prefill"].inputs]


def test_both_dialects_and_an_optimized_program_agree(checkpoint: Path, compiled: CompiledModel) -> None:
    program, _ = graphwright.optimize(graphwright.trace(checkpoint), "cpu")
    for other in (graphwright.compile(checkpoint, dialect="portable"), graphwright.compile(program)):
        np.testing.assert_allclose(other.logits(IDS), compiled.logits(IDS), atol=48 * 2**-23, rtol=1e-5)


def test_a_lower_precision_is_captured_as_asked(checkpoint: Path) -> None:
    dtypes = {str(weight.type).split("[")[0] for weight in graphwright.trace(checkpoint, dtype="bf16").weights.values()}
    assert "bf16" in dtypes
    assert graphwright.compile(checkpoint, dtype="bf16").logits(IDS).dtype == np.float32


def test_optimizing_leaves_the_program_as_it_was(checkpoint: Path) -> None:
    program = graphwright.trace(checkpoint)
    optimized, report = graphwright.optimize(program)
    assert list(program.graphs) == ["forward"]
    assert list(optimized.graphs) == ["prefill", "decode"]
    assert [r.name for r in report.records[:2]] == ["split-context", "canonicalize"]
    raised, proven = graphwright.optimize(program, parse_passes("canonicalize"), prove=True)
    assert [r.proof is not None for r in (*report.records, *proven.records)] == [False] * len(report.records) + [True]
    assert list(raised.graphs) == ["forward"]
    with pytest.raises(PassError, match="did you mean 'default'"):
        graphwright.optimize(program, "defualt")


def test_a_function_is_traced_from_its_example() -> None:
    program = graphwright.trace(torch.nn.Linear(4, 5), example_inputs=torch.zeros(2, 4))
    assert [str(value.type) for value in program.graphs["forward"].inputs] == ["f32[B, 4]"]
    with pytest.raises(UsageError, match="is not a language model"):
        graphwright.compile(program)


def test_the_context_is_bounded_but_never_stretched(checkpoint: Path) -> None:
    short = graphwright.compile(checkpoint, max_context=8)
    assert len(short.generate([1, 2, 3])) <= 5
    with pytest.raises(ContextError, match="9 tokens"):
        short.generate(list(range(3, 12)))
    with pytest.raises(UsageError, match="max_context is 0: must be at least 1"):
        graphwright.compile(checkpoint, max_context=0)
    with pytest.raises(UsageError, match="max_context is 65: must be 1 to 64, the model's context length"):
        graphwright.compile(checkpoint, max_context=65)
    with pytest.raises(UsageError, match="does not say how long its context is"):
        graphwright.compile(models.Own())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "tvn"}, "there is no backend 'tvn'"),
        ({"target": "cudo"}, "there is no target 'cudo': did you mean 'cuda'"),
        ({"dialect": "portabel"}, "did you mean 'portable'"),
        ({"assets": "absent"}, "assets is absent, which is not a folder"),
    ],
)
def test_bad_choices(options: dict[str, Any], message: str, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(Exception, match=message) as error:
        graphwright.compile(checkpoint, output=tmp_path / "out", **options)
    assert graphwright.is_user_error(error.value)
    assert not (tmp_path / "out").exists()


def test_a_gpu_that_is_not_here_is_told_before_work(monkeypatch: pytest.MonkeyPatch, checkpoint: Path) -> None:
    def absent() -> None:
        raise SessionError("there is no CUDA device here: the driver finds none")

    # The driver may be the emulator's, where a test of this process has started that.
    monkeypatch.setattr(cuda_api, "cuda", absent)
    with pytest.raises(UsageError, match=r"there is no CUDA device here.*; `graphwright compile` writes an artifact"):
        graphwright.compile(checkpoint, target="cuda")


def test_models_that_cannot_be_compiled_say_where() -> None:
    with pytest.raises(UnsupportedError, match=r"mode.*block\.0"):
        graphwright.compile(models.Unsupported(), max_context=8)
    with pytest.raises(WeightError, match=r"weight 'qkv\.weight' is not finite: element \[3, 2\] is nan"):
        graphwright.compile(models.not_a_number(), max_context=8)
    with pytest.raises(PassError, match="insert-kv-cache: attention"):
        graphwright.compile(models.TwoWay(), max_context=8)


def test_a_batch_of_none_is_refused(compiled: CompiledModel) -> None:
    with pytest.raises(GenerationError, match="there are no prompts"):
        compiled.generate([])
    with pytest.raises(GenerationError, match="there are no prompts"):
        compiled.logits([])
    with pytest.raises(GenerationError, match="there are no prompts"):
        compiled.logits(np.zeros((0, 4), dtype=np.int64))  # pyright: ignore[reportArgumentType] - an array is taken too
