"""Writing folders: whole or not at all, and never over something that is not ours."""

import errno
import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from graphwright.runtime import ArtifactError, ArtifactWriter, open_artifact
from graphwright.runtime.artifact import AtomicFolder, Manifest, ModelInfo, Program, TensorSpec

MODEL = ModelInfo(name="f", architecture="F", parameters=0)
PROGRAM = Program(
    kind="function",
    backend="onnx",
    dialect="portable",
    file="model.onnx",
    inputs={"x": TensorSpec(dtype="float32", shape=("n", 2))},
    outputs={"y": TensorSpec(dtype="float32", shape=("n", 2))},
)


def write(path: Path, content: bytes) -> Manifest:
    with ArtifactWriter(path) as writer:
        writer.add_bytes("model.onnx", content)
        return writer.commit(producer="tests", model=MODEL, program=PROGRAM)


def test_the_manifest_lists_every_file(tmp_path: Path) -> None:
    (tmp_path / "source.json").write_text("{}")
    with ArtifactWriter(tmp_path / "out") as writer:
        (writer.folder / "model.onnx").write_bytes(b"abc")
        writer.add_text("lowered.gw", "é\n")
        writer.add_copy(tmp_path / "source.json")
        writer.add_copy(tmp_path / "source.json", "sub/config.json")
        manifest = writer.commit(producer="tests", model=MODEL, program=PROGRAM)
    assert sorted(manifest.files) == ["lowered.gw", "model.onnx", "source.json", "sub/config.json"]
    assert manifest.files["model.onnx"].size == 3
    assert manifest.files["model.onnx"].sha256 == hashlib.sha256(b"abc").hexdigest()
    assert open_artifact(tmp_path / "out").manifest == manifest
    assert (tmp_path / "out" / "lowered.gw").read_bytes() == "é\n".encode()


def test_the_manifest_on_disk_is_the_documented_json(tmp_path: Path) -> None:
    write(tmp_path / "out", b"abc")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["format"] == "graphwright-artifact"
    assert manifest["format_version"] == 2
    assert manifest["producer"] == "tests"
    assert manifest["program"]["inputs"] == {"x": {"dtype": "float32", "shape": ["n", 2]}}


def test_the_folder_gets_ordinary_permissions(tmp_path: Path) -> None:
    write(tmp_path / "out", b"abc")
    (tmp_path / "plain").mkdir()
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_an_existing_artifact_is_replaced_whole(tmp_path: Path) -> None:
    write(tmp_path / "out", b"old")
    (tmp_path / "out" / "left over").write_text("")
    write(tmp_path / "out", b"new")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["manifest.json", "model.onnx"]
    assert (tmp_path / "out" / "model.onnx").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def write_and_fail(path: Path) -> None:
    with ArtifactWriter(path) as writer:
        writer.add_bytes("model.onnx", b"new")
        raise RuntimeError("half way")


def test_a_failure_leaves_the_old_artifact_and_nothing_else(tmp_path: Path) -> None:
    write(tmp_path / "out", b"old")
    with pytest.raises(RuntimeError, match="half way"):
        write_and_fail(tmp_path / "out")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def fill_the_disk(path: Path) -> None:
    with ArtifactWriter(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"out cannot be written: No space left on device"):
        fill_the_disk(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_leaving_without_commit_leaves_nothing(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "deep" / "out") as writer:
        writer.add_bytes("model.onnx", b"new")
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_manifest_that_breaks_the_rules_is_not_written(tmp_path: Path) -> None:
    with (
        pytest.raises(ArtifactError, match=r"'model\.onnx' is not among the files"),
        ArtifactWriter(tmp_path / "out") as writer,
    ):
        writer.commit(producer="tests", model=MODEL, program=PROGRAM)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("precious")
    with pytest.raises(ArtifactError, match="exists and was not written by this command"):
        write(tmp_path / "thesis", b"new")
    assert (tmp_path / "thesis" / "chapter.txt").read_text() == "precious"


def test_a_folder_that_fills_up_while_writing_is_refused(tmp_path: Path) -> None:
    with ArtifactWriter(tmp_path / "out") as writer:
        writer.add_bytes("model.onnx", b"new")
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "chapter.txt").write_text("precious")
        with pytest.raises(ArtifactError, match="was not written by this command"):
            writer.commit(producer="tests", model=MODEL, program=PROGRAM)
    assert (tmp_path / "out" / "chapter.txt").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_empty_folder_is_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    write(tmp_path / "out", b"new")
    assert (tmp_path / "out" / "model.onnx").read_bytes() == b"new"


def test_a_file_or_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(ArtifactError, match="is not a folder"):
        write(tmp_path / "file", b"")
    with pytest.raises(ArtifactError, match="is a link"):
        write(tmp_path / "link", b"")
    with pytest.raises(ArtifactError, match="cannot be written"):
        write(tmp_path / "file" / "out", b"")


@pytest.mark.parametrize("name", ["../out", "/out", "a/../b", "manifest.json", ""])
def test_names_that_leave_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArtifactError, match="not a plain name"), ArtifactWriter(tmp_path / "out") as writer:
        writer.add_text(name, "")


def test_a_plain_export_is_atomic_too(tmp_path: Path) -> None:
    with AtomicFolder(tmp_path / "genai") as folder:
        (folder.path / "genai_config.json").write_text("{}")
        assert not (tmp_path / "genai").exists()
        folder.commit()
    assert [path.name for path in (tmp_path / "genai").iterdir()] == ["genai_config.json"]
    with pytest.raises(ArtifactError, match="remove it or choose another path"), AtomicFolder(tmp_path / "genai"):
        pass


def test_what_may_be_replaced_is_the_callers_decision(tmp_path: Path) -> None:
    (tmp_path / "genai").mkdir()
    (tmp_path / "genai" / "genai_config.json").write_text("old")
    with AtomicFolder(tmp_path / "genai", lambda path: (path / "genai_config.json").exists()) as folder:
        (folder.path / "genai_config.json").write_text("new")
        folder.commit()
    assert (tmp_path / "genai" / "genai_config.json").read_text() == "new"
