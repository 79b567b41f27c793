"""Files that are none: pipes, devices, folders, holes. Both copies of the reader, and every file that is read whole."""

import io
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import graphwright.ir.files
import graphwright.runtime.files
from graphwright.errors import UsageError
from graphwright.frontend.errors import CheckpointError
from graphwright.frontend.remote_code import sentence_modules
from graphwright.frontend.weight_files import read_json
from graphwright.ir import UserError, WeightError, read_program
from graphwright.ir.weights import stored_tensors
from graphwright.runtime.errors import ArtifactError, DataError
from graphwright.runtime.token_rows import read_stream
from graphwright.runtime.tokenizer_file import read_tokenizer
from graphwright.sources.generation_settings import read_generation_settings
from graphwright.sources.models import Source

READERS = [graphwright.ir.files, graphwright.runtime.files]
TERABYTE = 1 << 40


def pipe(path: Path) -> None:
    os.mkfifo(path)


def zeros(path: Path) -> None:
    path.symlink_to("/dev/zero")


def holes(path: Path) -> None:
    path.touch()
    os.truncate(path, TERABYTE)


def folder(path: Path) -> None:
    path.mkdir()


STRANGE = {
    pipe: "not a regular file",
    zeros: "not a regular file",
    holes: "more than 1 MiB, which is not read",
    folder: "it is a folder",
}


@pytest.mark.parametrize("files", READERS)
@pytest.mark.parametrize(("make", "message"), STRANGE.items())
def test_what_is_no_regular_file_or_too_large(
    tmp_path: Path, files: ModuleType, make: Callable[[Path], None], message: str
) -> None:
    make(tmp_path / "x")
    for pipes in (False, True):
        with pytest.raises(OSError, match=message) as caught:
            files.read_bytes(tmp_path / "x", 1 << 20, pipes=pipes)
        assert caught.value.filename == str(tmp_path / "x")


@pytest.mark.parametrize("files", READERS)
def test_regular_files_up_to_the_limit(tmp_path: Path, files: ModuleType) -> None:
    path = tmp_path / "x"
    data = np.random.default_rng(0).bytes((1 << 21) + 5)
    path.write_bytes(data)
    assert files.read_bytes(path, len(data)) == data
    with pytest.raises(OSError, match="which is not read"):
        files.read_bytes(path, len(data) - 1)
    path.write_bytes("é\r\nb\rc\n".encode())
    assert files.read_text(path, 10) == path.read_text(encoding="utf-8") == "é\nb\nc\n"
    # Files of the system say that they have no bytes.
    assert files.read_bytes("/proc/self/status", 1 << 20).startswith(b"Name:")


@pytest.mark.parametrize("files", READERS)
def test_a_pipe_of_the_shell_is_read_where_the_user_names_it(files: ModuleType) -> None:
    with subprocess.Popen(["sh", "-c", "printf a; printf b"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        path = f"/dev/fd/{process.stdout.fileno()}"
        with pytest.raises(OSError, match="not a regular file"):
            files.read_bytes(path, 10)
        assert files.read_text(path, 10, pipes=True) == "ab"
    with subprocess.Popen(["yes"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        with pytest.raises(OSError, match="which is not read"):
            files.read_bytes(f"/dev/fd/{process.stdout.fileno()}", 1 << 16, pipes=True)


def test_the_copies_are_the_same() -> None:
    ours, theirs = (Path(str(files.__file__)).read_text(encoding="utf-8") for files in READERS)
    assert ours.partition('"""\n\nimport')[2] == theirs.partition('"""\n\nimport')[2]


def tokens(path: Path) -> object:
    return read_stream(path, None, 10)


def generation_settings(path: Path) -> object:
    return read_generation_settings(Source("model", path.parent), path.parent)


READ: list[tuple[str, Callable[[Path], object], type[Exception]]] = [
    ("config.json", read_json, CheckpointError),
    ("model.gw", read_program, UserError),
    ("model.safetensors", lambda path: stored_tensors(str(path)), WeightError),
    ("tokenizer.json", lambda path: read_tokenizer(path.parent), ArtifactError),
    ("text.txt", tokens, DataError),
    ("text.npy", tokens, DataError),
    ("generation_config.json", generation_settings, UsageError),
    ("modules.json", lambda path: sentence_modules(path.parent), CheckpointError),
]


@pytest.mark.parametrize(("name", "read", "error"), READ)
@pytest.mark.parametrize("make", STRANGE)
def test_every_file_that_is_read_whole(
    tmp_path: Path, name: str, read: Callable[[Path], object], error: type[Exception], make: Callable[[Path], None]
) -> None:
    make(tmp_path / name)
    begin = time.monotonic()
    with pytest.raises(error) as caught:
        read(tmp_path / name)
    assert time.monotonic() - begin < 5
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_header_that_promises_more_than_memory(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes((TERABYTE - 8).to_bytes(8, "little"))
    os.truncate(path, TERABYTE)
    with pytest.raises(WeightError, match="the safetensors header is damaged"):
        stored_tensors(str(path))


def test_an_array_that_promises_more_than_memory(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<i8", "fortran_order": False, "shape": (TERABYTE, 8)})
    (tmp_path / "ids.npy").write_bytes(stream.getvalue())
    with pytest.raises(DataError, match=r"ids\.npy cannot be read as an array"):
        tokens(tmp_path / "ids.npy")


def test_json_that_is_nested_too_deeply(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[" * 200_000)
    with pytest.raises(CheckpointError, match="not readable as JSON"):
        read_json(tmp_path / "config.json")
