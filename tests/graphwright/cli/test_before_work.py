"""Cheap mistakes are found before a model is read: here any attempt to capture one fails the test."""

import os
from pathlib import Path

import pytest

from tests.graphwright import models
from tests.graphwright.commands import Commands

FACTORIES = Path(models.__file__)


@pytest.fixture(autouse=True)
def no_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    def begun(*_: object, **__: object) -> None:
        pytest.fail("the work began")

    monkeypatch.setattr("graphwright.frontend.capture", begun)
    monkeypatch.setattr("graphwright.sources.models._call_factory", begun)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a folder and a file that belong to somebody else."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "notes.txt").write_text("keep me")
    (tmp_path / "file").write_text("keep me")
    return tmp_path


OUTPUTS = {
    "compile": ("compile", "MODEL", "-o"),
    "a function": ("compile", f"{FACTORIES}:own", "-o"),
    "export": ("export", "MODEL", "-o"),
    "quantize": ("quantize", "MODEL", "--to", "w8", "-o"),
}
FILES = {
    "trace": (("trace", "MODEL", "-o"), ".gw"),
    "opt": (("opt", "MODEL", "--passes", "canonicalize", "-o"), ".gw"),
    "quantize": (("quantize", "MODEL", "--to", "w8", "-o"), ".gw"),
    "report": (("report", "MODEL", "--passes", "canonicalize", "-o"), ".html"),
}


def with_model(words: tuple[str, ...], checkpoint: Path) -> list[str]:
    return [str(checkpoint) if word == "MODEL" else word for word in words]


@pytest.mark.parametrize("name", OUTPUTS)
def test_folders_that_cannot_be_written(commands: Commands, checkpoint: Path, place: Path, name: str) -> None:
    before = with_model(OUTPUTS[name], checkpoint)
    assert "exists and is not a folder" in commands.fail(*before, "file")
    assert "was not written by this command" in commands.fail(*before, "foreign")
    assert "file/below cannot be written: Not a directory" in commands.fail(*before, "file/below")
    assert "cannot be written" in commands.fail(*before, "/proc/nowhere/out")
    for file in ("out.txt", "model.ONNX", "deep/model.safetensors"):
        message = commands.fail(*before, file)
        assert f"{file} is a file's name, and the output is " in message
        assert f"see `graphwright {before[0]} --help`" in message
    (place / "link").symlink_to(place / "foreign")
    assert "is a link" in commands.fail(*before, "link")
    assert sorted(os.listdir(place)) == ["file", "foreign", "link"]
    assert os.listdir(place / "foreign") == ["notes.txt"]


@pytest.mark.parametrize("name", FILES)
def test_files_that_cannot_be_written(commands: Commands, checkpoint: Path, place: Path, name: str) -> None:
    words, suffix = FILES[name]
    before = with_model(words, checkpoint)
    (place / f"folder{suffix}").mkdir()
    assert "is a folder; give the name of" in commands.fail(*before, f"folder{suffix}")
    assert "cannot be written: Not a directory" in commands.fail(*before, f"file/below{suffix}")
    assert "cannot be written" in commands.fail(*before, f"/proc/nowhere/out{suffix}")
    if name != "quantize":
        message = commands.fail(*before, "out.txt")
        assert f"ends in {suffix}" in message
        assert f"see `graphwright {before[0]} --help`" in message
    assert sorted(os.listdir(place)) == ["file", f"folder{suffix}", "foreign"]


@pytest.mark.parametrize("command", ["compile", "export", "quantize", "generate"])
@pytest.mark.parametrize("length", ["0", "-3", "65", "1000000"])
def test_contexts_out_of_range(commands: Commands, checkpoint: Path, place: Path, command: str, length: str) -> None:
    rest = {"generate": ["hello"], "quantize": ["--to", "w8", "-o", "out"]}.get(command, ["-o", "out"])
    message = commands.fail(command, checkpoint, *rest, "--max-context", length)
    assert message.startswith(f"--max-context is {length}: must be ")
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("evaluate", "MODEL", "--text", "absent.txt"), "absent.txt cannot be read: No such file or directory"),
        (("evaluate", "MODEL", "--text", "foreign"), "foreign cannot be read: Is a directory"),
        (("evaluate", "MODEL", "--text", "file", "--against", "absent/model"), "absent/model does not exist"),
        (("evaluate", "MODEL", "--text", "file", "--against", "absent.py:model"), "absent.py does not exist"),
        (
            ("evaluate", "MODEL", "--text", "file", "--rows", "0"),
            "--rows is 0: must be at least 1; see `graphwright ev",
        ),
        (("evaluate", "MODEL", "--text", "file", "--assets", "file"), "--assets is file, which is no folder"),
        (
            ("compile", "MODEL", "-o", "out", "--quantize", "w4a8-gptq", "--calibration", "absent"),
            "absent is not a file",
        ),
        (("compile", "MODEL", "-o", "out", "--assets", "absent"), "--assets is absent, which is no folder"),
        (("compile", f"{FACTORIES}:own", "-o", "out", "--dtype", "fp16"), "dtype fp16 is called f16 here"),
        (("compile", "MODEL", "-o", "out", "--dtype", "int8"), "weights in few bits are a scheme of quantize"),
        (("export", f"{FACTORIES}:own", "-o", "out", "--layout", "optimum", "--assets", "file"), "is no folder"),
        (("generate", "MODEL", "hello", "--top-p", "1.5"), "--top-p is 1.5: must be above 0 and at most 1; see `gra"),
        (("generate", "MODEL", "hello", "--stop", ""), "--stop is '': must be at least one character long; see `gra"),
        (("generate", "MODEL", "--file", "absent.txt"), "absent.txt"),
    ],
)
def test_other_cheap_mistakes(
    commands: Commands, checkpoint: Path, place: Path, arguments: tuple[str, ...], message: str
) -> None:
    assert message in commands.fail(*with_model(arguments, checkpoint))
    assert sorted(os.listdir(place)) == ["file", "foreign"]
