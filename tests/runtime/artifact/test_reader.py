"""Opening artifacts, good and bad: every error is one line and says what to do."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graphwright.runtime import ArtifactError, ArtifactWriter, open_artifact
from graphwright.runtime.artifact import claims_artifact, is_artifact
from tests.runtime.program import TinyDecoder, write_artifact


@pytest.fixture
def folder(tmp_path: Path, tiny: TinyDecoder) -> Path:
    return write_artifact(tmp_path / "tiny", tiny, files={"config.json": "{}", "notes/é.txt": "text"})


Change = Callable[[dict[str, Any]], object]
"""What is done to a manifest as JSON gives it."""


def edit(folder: Path, change: Change) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def refusal(folder: Path, **options: bool) -> str:
    with pytest.raises(ArtifactError) as caught:
        open_artifact(folder, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(folder) in message
    return message


def test_a_good_artifact_opens(folder: Path) -> None:
    artifact = open_artifact(folder)
    assert set(artifact.manifest.files) == {"model.onnx", "config.json", "notes/é.txt"}
    assert artifact.read_text("notes/é.txt") == "text"
    assert artifact.manifest.program.cache[0].shape == ("batch", 2, "capacity", 8)


def test_only_listed_files_are_read(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("planted")
    artifact = open_artifact(folder)
    assert not artifact.has("tokenizer.json")
    with pytest.raises(ArtifactError, match="has no tokenizer"):
        artifact.read_text("tokenizer.json")


def pipe(path: Path) -> None:
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def holes(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


@pytest.mark.parametrize("make", [pipe, zeros, holes, Path.mkdir])
def test_a_manifest_that_is_no_file(folder: Path, make: Callable[[Path], None]) -> None:
    (folder / "manifest.json").unlink()
    make(folder / "manifest.json")
    assert "manifest.json cannot be read: it " in refusal(folder)
    assert not is_artifact(folder)
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read: it "):
        claims_artifact(folder)
    with pytest.raises(ArtifactError, match="was not written by this command"):
        ArtifactWriter(folder).__enter__()
    assert os.path.lexists(folder / "manifest.json")


@pytest.mark.parametrize("make", [pipe, zeros, holes, Path.mkdir])
def test_a_file_to_copy_that_is_none(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "tokenizer.json")
    with (
        pytest.raises(ArtifactError, match=r"tokenizer\.json cannot be copied: it "),
        ArtifactWriter(tmp_path / "out") as writer,
    ):
        writer.add_copy(tmp_path / "tokenizer.json")
    assert [path.name for path in tmp_path.iterdir()] == ["tokenizer.json"]


def test_a_file_of_holes_that_the_manifest_lists(folder: Path) -> None:
    for name in ("config.json", "model.onnx"):
        os.truncate(folder / name, 1 << 40)
        edit(folder, lambda manifest, name=name: manifest["files"][name].update(size=1 << 40))
        assert "has 1099511627776 bytes; only weights may have more than 2 GiB" in refusal(folder, verify=False)
        edit(folder, lambda manifest, name=name: manifest["files"][name].update(size=1 << 28 | 1))
        os.truncate(folder / name, 1 << 28 | 1)
    with pytest.raises(ArtifactError, match=r"config\.json cannot be read: it has more than 256 MiB"):
        open_artifact(folder, verify=False).read_text("config.json")


def test_a_folder_that_is_meant_to_be_an_artifact(folder: Path) -> None:
    assert claims_artifact(folder)
    edit(folder, lambda manifest: manifest.update(format="graphwright-artefact"))
    assert not claims_artifact(folder)
    (folder / "lowered.gw").touch()
    assert claims_artifact(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ArtifactError, match=r"manifest\.json is not valid JSON"):
        claims_artifact(folder)
    (folder / "manifest.json").unlink()
    assert not claims_artifact(folder)


def test_text_that_is_not_utf8(folder: Path) -> None:
    (folder / "config.json").write_bytes(b"\xff{")
    with pytest.raises(ArtifactError, match=r"config\.json is not UTF-8"):
        open_artifact(folder, verify=False).read_text("config.json")


def test_no_folder(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "nowhere")


def test_a_file_instead_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")
    assert "is a file" in refusal(tmp_path / "model.onnx")


def test_a_folder_without_manifest(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert "is not a Graphwright artifact" in refusal(tmp_path)


@pytest.mark.parametrize("text", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_not_json(folder: Path, text: bytes) -> None:
    (folder / "manifest.json").write_bytes(text)
    assert "manifest.json is not valid JSON" in refusal(folder)


@pytest.mark.parametrize("text", ["[]", "{}", '{"format": "other"}', '{"name": "a web application"}'])
def test_the_manifest_of_another_tool(folder: Path, text: str) -> None:
    (folder / "manifest.json").write_text(text)
    assert "another tool's" in refusal(folder)


@pytest.mark.parametrize("version", [0, 1, "2", None])
def test_an_unknown_format_version(folder: Path, version: object) -> None:
    edit(folder, lambda manifest: manifest.update(format_version=version))
    assert f"has format version {version!r}; this Graphwright reads version 2" in refusal(folder)


def state(*shape: str | int) -> dict[str, Any]:
    return {"input": "past.1.state", "output": "present.1.state", "dtype": "float32", "shape": list(shape)}


BREAKING: list[tuple[Change, str]] = [
    (lambda m: m.update(extra=1), "extra is not known here"),
    (lambda m: m["program"].update(extra=1), "program.extra is not known here"),
    (lambda m: m.pop("model"), "model is missing"),
    (lambda m: m["model"].update(parameters="many"), "model.parameters is 'many': must be an integer"),
    (lambda m: m["model"].update(parameters=-1), "model.parameters is -1: must be at least 0"),
    (
        lambda m: m["model"].update(vocabulary_size=None),
        "the model of a decoder needs vocabulary_size and context_length",
    ),
    (
        lambda m: m["program"].update(kind="encoder"),
        "program.kind is 'encoder': must be one of 'decoder'",
    ),
    (lambda m: m["program"].update(kind="function"), "program is not valid: a function has no cache"),
    (lambda m: m["program"].update(file="other.onnx"), "the program's file 'other.onnx' is not among the files"),
    (lambda m: m["program"]["inputs"].pop("new_length"), "program is not valid: the inputs of a"),
    (
        lambda m: m["program"]["inputs"]["input_ids"].update(dtype="int32"),
        "program is not valid: the inputs of a",
    ),
    (
        lambda m: m["program"]["outputs"]["logits"].update(dtype="float16"),
        "program is not valid: an output of a decoder is logits, float32 of rank 3",
    ),
    (
        lambda m: m["program"]["cache"][0].update(input="past_length"),
        "program is not valid: two inputs",
    ),
    (lambda m: m["program"]["cache"][0].update(shape=["batch", 2, "capacity"]), "program.cache.0.shape"),
    (lambda m: m["program"]["cache"][0].update(dtype="complex64"), "program.cache.0.dtype"),
    (
        lambda m: m["program"].update(states=[state("batch", "batch")]),
        "program.states.0.shape is not valid: the shape of",
    ),
    (
        lambda m: m["program"].update(states=[state(2, 3)]),
        "program.states.0.shape is not valid: the shape of",
    ),
    (lambda m: m["program"].update(states=[state("batch", "capacity")]), "program.states.0.shape"),
    (
        lambda m: m["program"].update(states=[state("batch", 3)] * 2),
        "program is not valid: two inputs",
    ),
    (
        lambda m: m["files"]["model.onnx"].update(sha256="abc"),
        "files.model.onnx.sha256 is 'abc': String",
    ),
    (lambda m: m["files"]["model.onnx"].update(size=2**60), "files.model.onnx.size is 1152921504606846976: must"),
    (lambda m: m["model"].update(context_length=2**31), "model.context_length is 2147483648: must be"),
    (lambda m: m["model"].update(context_length=0), "model.context_length is 0: must be"),
    (lambda m: m["model"].update(vocabulary_size=2**31), "model.vocabulary_size is 2147483648: must be"),
    (lambda m: m["model"].update(vocabulary_size=41), "logits are of 40 tokens, vocabulary_size is 41"),
    (lambda m: m["model"].update(eos_token_ids=[2**40]), "model.eos_token_ids.0 is 1099511627776: must be"),
    (lambda m: m["model"].update(parameters=10**30), "model.parameters is 1"),
    (
        lambda m: m["program"]["cache"][0].update(shape=["batch", 2**31, "capacity", 8]),
        "program.cache.0.shape.1 is 2147483648: must be",
    ),
    (
        lambda m: m["program"]["cache"][0].update(shape=["batch", 2**21, "capacity", 2**20]),
        "program.cache.0.shape is not valid: a tensor of more than 2^40 elements",
    ),
    (
        lambda m: m["program"].update(states=[state("batch", *[2**30] * 3)]),
        "program.states.0.shape is not valid: a tensor of more than 2^40 elements",
    ),
    (
        lambda m: m["program"]["outputs"]["logits"].update(shape=["batch", "positions", *[2**20] * 3]),
        "program.outputs.logits.shape is not valid: a tensor of more than 2^40 elements",
    ),
    (
        lambda m: m["program"]["outputs"]["logits"].update(shape=[1] * 33),
        "program.outputs.logits.shape is not valid: a shape of 33 dimensions",
    ),
]


@pytest.mark.parametrize(("change", "finding"), BREAKING)
def test_a_manifest_that_breaks_the_rules(folder: Path, change: Change, finding: str) -> None:
    edit(folder, change)
    assert f"manifest.json: {finding}" in refusal(folder)


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "/etc/passwd",
        "a/../../secret",
        "a//b",
        "./a",
        "a/",
        "",
        "..",
        "a\\b",
        "C:x",
        "a\0b",
        "manifest.json",
    ],
)
def test_names_that_leave_the_folder(folder: Path, name: str) -> None:
    (folder.parent / "secret").write_text("{}")
    edit(folder, lambda manifest: manifest["files"].update({name: manifest["files"]["config.json"]}))
    assert f"files is not valid: {name!r} is not a plain name inside the folder" in refusal(folder)


def test_a_link_out_of_the_folder(folder: Path) -> None:
    secret = folder.parent / "secret"
    secret.write_text("{}")
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(secret)
    assert "config.json is a link that leads outside the folder" in refusal(folder)


def test_a_linked_directory_out_of_the_folder(folder: Path) -> None:
    (folder / "notes").rename(folder.parent / "moved")
    (folder / "notes").symlink_to(folder.parent / "moved")
    assert "leads outside the folder" in refusal(folder)


def test_a_link_inside_the_folder_is_followed(folder: Path) -> None:
    (folder / "config.json").rename(folder / "blob")
    (folder / "config.json").symlink_to("blob")
    assert open_artifact(folder).read_text("config.json") == "{}"


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    (folder.parent / "link").symlink_to(folder)
    assert open_artifact(folder.parent / "link").read_text("config.json") == "{}"


def test_a_link_in_a_circle(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("config.json")
    assert "config.json is missing" in refusal(folder)


def test_a_missing_file(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert "config.json is missing; copy or compile the artifact again" in refusal(folder)


def test_a_pipe_instead_of_a_file(folder: Path) -> None:
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    assert "config.json is not a regular file" in refusal(folder)


@pytest.mark.parametrize("verify", [True, False])
def test_a_cut_file(folder: Path, verify: bool) -> None:
    program = folder / "model.onnx"
    size = program.stat().st_size
    program.write_bytes(program.read_bytes()[:-1])
    assert f"model.onnx has {size - 1} bytes instead of {size}" in refusal(folder, verify=verify)


def test_an_altered_byte(folder: Path) -> None:
    program = folder / "model.onnx"
    data = bytearray(program.read_bytes())
    data[len(data) // 2] ^= 1
    program.write_bytes(data)
    assert "model.onnx is damaged (its SHA-256 is not the manifest's)" in refusal(folder)
    assert open_artifact(folder, verify=False).path("model.onnx") == program
