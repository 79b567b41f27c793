"""Artifacts that are kept: a second compile is a copy of the first, and of no other request's."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from graphwright.compiling import compiler, kept_artifacts
from graphwright.compiling.compiler import Options, build_once
from graphwright.compiling.kept_artifacts import KeptArtifact
from graphwright.compiling.report import CompilationReport
from graphwright.ir import Notice, notify, origin
from graphwright.quantizing.quantization import requested_quantization
from graphwright.runtime import ArtifactError
from graphwright.runtime.artifact import open_artifact
from graphwright.sources.models import ModelOptions, Source, resolve

PLAIN = Options()


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where artifacts are kept: nothing yet, in a process of which it is known that nothing was replaced in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(origin, "runs_our_code_alone", lambda: True)
    return tmp_path / "cache" / "graphwright" / "artifact-folders"


@pytest.fixture
def made(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> list[Options]:
    """The requests that are compiled: to a copy of the shared artifact, with a notice."""
    requests: list[Options] = []

    def build(source: Source, folder: Path, options: Options, on_stage: Any = None) -> CompilationReport:
        requests.append(options)
        notify(f"{source.name} has a flaw")
        shutil.copytree(artifact, folder)
        return CompilationReport((), None, open_artifact(folder).manifest, folder)

    monkeypatch.setattr(compiler, "build", build)
    return requests


@pytest.fixture
def outputs(tmp_path: Path) -> Iterator[Path]:
    """Folders that there are not yet."""
    return (tmp_path / f"out{i}" for i in range(99))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def again(source: Source, folder: Path, options: Options = PLAIN) -> CompilationReport:
    with pytest.warns(Notice, match="has a flaw$") as given:
        report = build_once(source, folder, options)
    assert len(given) == 1
    assert report.manifest == open_artifact(folder).manifest
    return report


def test_a_second_compile_is_a_copy(
    checkpoint_copy: Path, artifact: Path, made: list[Options], outputs: Iterator[Path]
) -> None:
    source = resolve(checkpoint_copy)
    first, second = next(outputs), next(outputs)
    again(source, first)
    shutil.rmtree(first)
    report = again(source, second)
    assert [stage.name for stage in report.stages] == ["copy"]
    again(source, second)  # an artifact is replaced
    assert contents(second) == contents(artifact)
    assert len(made) == 1


def edited_file(folder: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")


REQUESTS: dict[str, Callable[[Source, Options], tuple[Source, Options]]] = {
    "backend": lambda source, options: (source, replace(options, backend="tvm")),
    "its options": lambda source, options: (source, replace(options, backend_options={"dialect": "portable"})),
    "pipeline": lambda source, options: (source, replace(options, pipeline="default")),
    "element type": lambda source, options: (source, replace(options, dtype="f32")),
    "context": lambda source, options: (source, replace(options, max_context=8)),
    "kind": lambda source, options: (source, replace(options, kind="function")),
    "caches": lambda source, options: (source, replace(options, cache_layout="ring")),
    "logits": lambda source, options: (replace(source, options=ModelOptions(logits="output")), options),
    "foreign code": lambda source, options: (replace(source, options=ModelOptions(True)), options),
    "name": lambda source, options: (replace(source, name="other"), options),
}


@pytest.mark.parametrize("change", REQUESTS.values(), ids=REQUESTS)
def test_another_request_is_compiled(
    checkpoint_copy: Path,
    made: list[Options],
    outputs: Iterator[Path],
    change: Callable[[Source, Options], tuple[Source, Options]],
) -> None:
    source = resolve(checkpoint_copy)
    again(source, next(outputs))
    other, options = change(source, Options())
    again(other, next(outputs), options)
    assert len(made) == 2


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors", "chat_templates/a.jinja"])
def test_other_files_are_compiled(
    checkpoint_copy: Path, made: list[Options], outputs: Iterator[Path], name: str
) -> None:
    (checkpoint_copy / "chat_templates").mkdir()
    (checkpoint_copy / "chat_templates" / "a.jinja").write_text("")
    source = resolve(checkpoint_copy)
    again(source, next(outputs))
    edited_file(checkpoint_copy, name)
    again(source, next(outputs))
    assert len(made) == 2


@pytest.mark.parametrize("name", ["weights.safetensors", "manifest.json", "lowered.gw"])
def test_what_is_damaged_is_compiled_anew(
    checkpoint_copy: Path, artifact: Path, made: list[Options], outputs: Iterator[Path], name: str
) -> None:
    source, first = resolve(checkpoint_copy), next(outputs)
    again(source, first)
    edited_file(first, name)  # the same file as the one that is kept, where both are on one file system
    again(source, next(outputs))
    assert len(made) == 2
    third = next(outputs)
    again(source, third)
    assert len(made) == 2
    assert contents(third) == contents(artifact)


def test_a_folder_of_others_is_not_replaced(
    checkpoint_copy: Path, made: list[Options], outputs: Iterator[Path]
) -> None:
    source, theirs = resolve(checkpoint_copy), next(outputs)
    again(source, next(outputs))
    theirs.mkdir()
    (theirs / "letter").write_text("dear")
    with pytest.raises(ArtifactError, match="was not written by this command"):
        build_once(source, theirs, Options())
    assert contents(theirs) == {"letter": b"dear"}


def test_a_cache_that_cannot_be_written_to_is_no_error(
    checkpoint_copy: Path, made: list[Options], outputs: Iterator[Path], kept: Path
) -> None:
    kept.parent.parent.mkdir()
    kept.parent.write_text("no folder")
    again(resolve(checkpoint_copy), next(outputs))
    assert len(made) == 1


def test_room_is_made_and_large_ones_are_not_kept(
    checkpoint_copy: Path,
    artifact: Path,
    made: list[Options],
    outputs: Iterator[Path],
    kept: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = sum(len(content) for content in contents(artifact).values())
    source = resolve(checkpoint_copy)
    monkeypatch.setattr(kept_artifacts, "MOST_BYTES", 5 * size // 2)
    for context in (8, 16, 32):
        again(source, next(outputs), Options(max_context=context))
    assert len(list(kept.iterdir())) == 2
    again(source, next(outputs), Options(max_context=32))
    assert len(made) == 3
    monkeypatch.setattr(kept_artifacts, "LARGEST", 1000)
    for _ in range(2):
        again(source, next(outputs), Options(max_context=9))
    assert len(made) == 5


def test_what_cannot_be_named_is_not_kept(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = resolve(checkpoint)
    assert KeptArtifact.of(source, Options()) is not None
    assert KeptArtifact.of(replace(source, example_inputs=()), Options()) is None
    assert KeptArtifact.of(replace(source, model=checkpoint / "model.safetensors"), Options()) is None
    assert KeptArtifact.of(source, Options(pipeline=())) is None
    assert KeptArtifact.of(source, Options(quantization=requested_quantization("w8"))) is None
    monkeypatch.setattr(origin, "runs_our_code_alone", lambda: False)
    assert KeptArtifact.of(source, Options()) is None
