"""Bad input through the command line: one clear line, exit status 2, nothing half-written."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.graphwright import models
from tests.graphwright.commands import Commands
from tests.tensors import load_file, save_file

FACTORIES = Path(models.__file__)


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A place for output in a folder that must stay empty."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place" / "out"


def refuse_checkpoint(commands: Commands, checkpoint: Path, out: Path) -> str:
    message = commands.fail("compile", checkpoint, "-o", out)
    assert written(out.parent) == []
    return message


def test_a_missing_model(commands: Commands, out: Path) -> None:
    assert "does not exist" in refuse_checkpoint(commands, out.parent / "absent", out)


def test_a_checkpoint_without_weights(commands: Commands, checkpoint_copy: Path, out: Path) -> None:
    (checkpoint_copy / "model.safetensors").unlink()
    assert str(checkpoint_copy) in refuse_checkpoint(commands, checkpoint_copy, out)


def test_a_truncated_checkpoint(commands: Commands, checkpoint_copy: Path, out: Path) -> None:
    weights = checkpoint_copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    message = refuse_checkpoint(commands, checkpoint_copy, out)
    assert "model.safetensors" in message
    assert "cut short" in message


def edit_weights(checkpoint: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    file = str(checkpoint / "model.safetensors")
    tensors = {name: tensor.clone() for name, tensor in load_file(file).items()}
    change(tensors)
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.mark.parametrize(
    ("replacement", "message"),
    [
        (None, "weight 'model.norm.weight' of LlamaForCausalLM is missing from the files"),
        (torch.ones(31), "'model.norm.weight' is f32[31], config.json asks for [32]"),
        (torch.ones(32, dtype=torch.int8), "'model.norm.weight' is i8[32], LlamaForCausalLM has torch.float32"),
    ],
)
def test_weights_that_do_not_fit(
    commands: Commands, checkpoint_copy: Path, out: Path, replacement: torch.Tensor | None, message: str
) -> None:
    def change(tensors: dict[str, torch.Tensor]) -> None:
        tensors.pop("model.norm.weight")
        if replacement is not None:
            tensors["model.norm.weight"] = replacement

    edit_weights(checkpoint_copy, change)
    assert message in refuse_checkpoint(commands, checkpoint_copy, out)


def test_archives(commands: Commands, out: Path, tmp_path: Path) -> None:
    fixed = torch.export.export(models.Own().eval(), (torch.zeros(2, 9, dtype=torch.int64),))
    torch.export.save(fixed, tmp_path / "fixed.pt2")
    (tmp_path / "text.pt2").write_text("text")
    message = commands.fail("generate", tmp_path / "fixed.pt2", "hello")
    assert "'fixed' was exported for a batch of 2, and a language model needs any" in message
    assert "text.pt2: not an archive of torch.export" in commands.fail("compile", tmp_path / "text.pt2", "-o", out)
    assert "dtype comes too late" in commands.fail("trace", tmp_path / "fixed.pt2", "--dtype", "bf16")
    assert written(out.parent) == []


def test_complex_outputs(commands: Commands, out: Path) -> None:
    message = commands.fail("compile", f"{FACTORIES}:turning", "-o", out)
    assert "output 'output' is complex; return torch.view_as_real of it" in message


def test_an_absent_shard(commands: Commands, checkpoint_copy: Path, out: Path) -> None:
    (checkpoint_copy / "model.safetensors").unlink()
    index = {"metadata": {}, "weight_map": {"model.embed_tokens.weight": "model-00001-of-00002.safetensors"}}
    (checkpoint_copy / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "model-00001-of-00002.safetensors" in refuse_checkpoint(commands, checkpoint_copy, out)


def test_a_configuration_that_is_no_json(commands: Commands, checkpoint_copy: Path, out: Path) -> None:
    (checkpoint_copy / "config.json").write_text("{")
    assert "config.json" in refuse_checkpoint(commands, checkpoint_copy, out)


@pytest.mark.parametrize(
    ("factory", "parts"),
    [
        ("unsupported", ("mode", "at block.0")),
        ("not_a_number", ("qkv.weight", "not finite")),
        ("two_way", ("insert-kv-cache", "tokens see later ones")),
        ("backwards", ("insert-kv-cache", "gather", "compile_function, or --function")),
        ("choosing", ("Choosing cannot be traced", "branches on the values of a tensor", "torch.where")),
        ("failing", ("models.py:", "ValueError: no weights today")),
        ("absent", ("has no 'absent'",)),
    ],
)
def test_modules(commands: Commands, factory: str, parts: tuple[str, ...], out: Path) -> None:
    message = commands.fail("compile", f"{FACTORIES}:{factory}", "-o", out, "--max-context", "16")
    assert all(part in message for part in parts), message
    assert written(out.parent) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--backend", "onix"), "there is no backend 'onix': did you mean 'onnx'?"),
        (("--dialect", "portabel"), "there is no dialect 'portabel': did you mean 'portable'?"),
        (("--pipeline", "defualt"), "there is no pipeline 'defualt': did you mean 'default'?"),
        (("--dtype", "f31"), "dtype f31 is not one to compute in"),
        (("--max-context", "65"), "--max-context is 65: must be 1 to 64, the model's context length"),
        (("--max-context", "many"), "Invalid value for '--max-context'"),
        (("--colour", "red"), "No such option: --colour"),
    ],
)
def test_options_of_compile(
    commands: Commands, checkpoint: Path, arguments: tuple[str, ...], message: str, out: Path
) -> None:
    assert message in commands.fail("compile", checkpoint, "-o", out, *arguments)
    assert written(out.parent) == []


def test_places_that_cannot_be_written(commands: Commands, checkpoint: Path, out: Path) -> None:
    out.mkdir()
    (out / "notes.txt").write_text("keep me")
    assert "was not written by this command" in commands.fail("compile", checkpoint, "-o", out)
    assert written(out) == ["notes.txt"]
    assert "cannot be written" in commands.fail("compile", checkpoint, "-o", out / "notes.txt" / "below")
    assert written(out.parent) == ["out"]


def test_program_text_names_file_line_and_column(commands: Commands, tmp_path: Path) -> None:
    text = 'program "x"\ngraph forward(%a: i64[B]) {\n  %0 = nonsense(%a) : i64[B]\n  return x=%0\n}\n'
    (tmp_path / "bad.gw").write_text(text)
    assert commands.fail("opt", tmp_path / "bad.gw").startswith(f"{tmp_path}/bad.gw:3:8: ")
    assert commands.fail("opt", "-", stdin=text).startswith("<stdin>:3:8: ")
    assert commands.fail("inspect", tmp_path / "bad.gw").startswith(f"{tmp_path}/bad.gw:3:8: ")
    assert "cannot be read" in commands.fail("opt", tmp_path / "absent.gw")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--passes", "canonicalise"), "there is no pass 'canonicalise': did you mean 'canonicalize'?"),
        (("--passes", "convert-dtype{too=f32}"), "has no option 'too': did you mean 'to'?"),
        (("--passes", "convert-dtype{to=f31}"), "to=f31 is not one of"),
        (("--passes", "a b"), "is not a pass"),
        (("--passes", ""), "no passes given"),
        (("--passes", "specialize"), "specialize needs another program"),
        (("--passes", "canonicalize", "--pipeline", "cpu"), "not both"),
    ],
)
def test_passes(commands: Commands, arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    file, out = tmp_path / "a.gw", tmp_path / "place" / "b.gw"
    file.write_text('program "x"\n\ngraph forward(%a: i64[B]) {\n  return x=%a\n}\n')
    assert message in commands.fail("opt", file, "-o", out, *arguments)
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x" * 200,), "more than"),
        (("hello", "--max-new-tokens", "64"), "exceeds the context of 64"),
        (
            ("hello", "--max-new-tokens", "0"),
            "--max-new-tokens is 0: must be at least 1; see `graphwright generate --help`",
        ),
        (
            ("hello", "--top-p", "1.5"),
            "--top-p is 1.5: must be above 0 and at most 1; see `graphwright generate --help`",
        ),
        (("hello", "--temperature", "-1"), "--temperature is -1.0: must be at least 0"),
        (("hello", "--stop"), "Option '--stop' requires an argument; see `graphwright generate --help`"),
        (("--file",), "Option '--file' requires an argument; see `graphwright generate --help`"),
        (("hello", "--logit-bias", "5"), "--logit-bias is '5'; it must be a token id and a number"),
        (("hello", "--logit-bias", "a=1"), "--logit-bias is 'a=1'"),
        (("hello", "--logit-bias", "5=nan"), "--logit-bias is '5=nan'"),
        (("hello", "--logit-bias", "9999=1"), "logit_bias holds the token id 9999"),
        (("hello", "--suppress-tokens", "1;2"), "--suppress-tokens is '1;2'; it must be token ids, such as 13,198"),
        (("hello", "--suppress-tokens", "9999"), "suppress_tokens holds the token id 9999"),
        (("hello", "--bad-words-ids", "x"), "--bad-words-ids is 'x'"),
        (("hello", "--no-repeat-ngram-size", "-1"), "--no-repeat-ngram-size is -1: must be at least 0"),
        (("hello", "--threads", "0"), "threads is 0; this process may use"),
        (("hello", "--threads", "999"), "threads is 999; this process may use"),
        (("hello", "--max-context", "65"), "is not in 1 to 64"),
        (("hello", "--chat"), "has no chat template"),
        (("--chat",), "standard input; see `graphwright generate --help`"),
        (("hello", "--file", "prompt.txt"), "not both; see `graphwright generate --help`"),
        (("--file", "absent.txt"), "absent.txt: No such file or directory"),
    ],
)
def test_generate(commands: Commands, artifact: Path, arguments: tuple[str, ...], message: str) -> None:
    found = commands.fail("generate", artifact, *arguments)
    assert message in found or (message == "more than" and "no room in the context of 64" in found)


def test_a_prompt_that_is_no_text(commands: Commands, artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"\x89PNG\xff")
    assert "is not UTF-8 text" in commands.fail("generate", artifact, "--file", tmp_path / "image")


def test_a_folder_that_is_no_artifact(commands: Commands, tmp_path: Path) -> None:
    assert "neither an artifact (no manifest.json) nor a checkpoint" in commands.fail("generate", tmp_path)
    assert "is not a Graphwright artifact" in commands.fail("inspect", tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff"])
def test_a_broken_manifest_is_no_bad_checkpoint(
    commands: Commands, artifact_copy: Path, checkpoint: Path, tmp_path: Path, content: bytes | None
) -> None:
    manifest = artifact_copy / "manifest.json"
    manifest.unlink()
    if content is None:
        os.mkfifo(manifest)
    else:
        manifest.write_bytes(content)
    message = "manifest.json cannot be read: it is not" if content is None else "manifest.json is not valid JSON"
    for arguments in (
        ("generate", artifact_copy, "hello"),
        ("inspect", artifact_copy),
        ("compile", artifact_copy, "-o", tmp_path / "out"),
        ("evaluate", artifact_copy, "--text", checkpoint / "config.json"),
    ):
        assert message in commands.fail(*arguments)
    assert "was not written by this command" in commands.fail("compile", checkpoint, "-o", artifact_copy)


def test_prompts_that_are_no_files(commands: Commands, artifact: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        assert "it is not a regular file" in commands.fail("generate", artifact, "--file", path)
        assert "it is not a regular file" in commands.fail("evaluate", artifact, "--text", path)
        assert "it is not a regular file" in commands.fail("report", "--from", path, "-o", tmp_path / "x.html")


def test_an_altered_artifact(commands: Commands, artifact_copy: Path) -> None:
    weights = artifact_copy / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    for command in ("generate", "inspect"):
        assert "weights.safetensors is damaged" in commands.fail(command, artifact_copy)


@pytest.mark.parametrize("name", ["../outside.bin", "/etc/hostname", "a/../../b"])
def test_a_manifest_that_leads_outside(commands: Commands, artifact_copy: Path, name: str) -> None:
    file = artifact_copy / "manifest.json"
    manifest = json.loads(file.read_text())
    manifest["files"][name] = {"size": 1, "sha256": "0" * 64}
    file.write_text(json.dumps(manifest))
    assert "is not a plain name inside the folder" in commands.fail("generate", artifact_copy, "hello")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("optt",), "No such command 'optt'"),
        (("opt",), "Missing argument 'MODEL'; see `graphwright opt --help`"),
        (("compile", "x"), "Missing option"),
        (("trace", "x", "-o", "y.gw"), "x does not exist"),
        (("trace", f"{FACTORIES}:own", "-o", "y.txt"), "ends in .gw"),
        (("trace", f"{FACTORIES}:own", "--dtype", "f31"), "dtype f31"),
        (("export", "x", "-o", "y", "--layout", "plane"), "did you mean 'plain'?"),
        (("export", "x", "-o", "y", "--dialect", "orc"), "did you mean 'ort'?"),
    ],
)
def test_the_command_line_itself(
    commands: Commands, arguments: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in commands.fail(*arguments)
    assert written(tmp_path) == []


def test_a_broken_tokenizer_is_found_before_the_work(commands: Commands, checkpoint_copy: Path, out: Path) -> None:
    (checkpoint_copy / "tokenizer.json").write_text("{}")
    (checkpoint_copy / "model.safetensors").unlink()
    assert "tokenizer.json is not a tokenizer: " in refuse_checkpoint(commands, checkpoint_copy, out)


def test_a_vocabulary_that_cannot_be_converted_leaves_a_model_of_token_ids(
    commands: Commands, checkpoint_copy: Path, out: Path
) -> None:
    (checkpoint_copy / "tokenizer.json").unlink()
    (checkpoint_copy / "tokenizer.model").write_text("no such thing")
    outcome = commands.run("compile", checkpoint_copy, "-o", out)
    assert outcome.status == 0
    assert outcome.errors.startswith(f"note: {checkpoint_copy} has no tokenizer.json, and none can be made of ")
    assert outcome.errors.count("\n") == 1
    assert commands.fail("generate", out, "a", "--max-new-tokens", "1") == (
        "the prompt is a text, but the artifact has no tokenizer.json; give token ids, or compile the model with one "
        "(--assets FOLDER)"
    )
