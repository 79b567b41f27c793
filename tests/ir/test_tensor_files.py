"""Files that change: what was read of another content is never taken for theirs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from graphwright.ir import StoredFile, WeightError, parse_program, print_program, read_program, tensor
from graphwright.ir.tensor_files import REMEMBERED, tensor_file
from graphwright.ir.weights import stored_tensors
from tests.tensors import save_file

OLD, NEW = torch.arange(4.0), torch.arange(4.0) + 10
CHANGED = "the file has changed since the program was made; capture the model again"


def in_place(path: Path) -> None:
    """The same file, as long as before, and with the time of its last change put back."""
    before = path.stat()
    new = path.with_name("new.safetensors")
    save_file({"w": NEW}, new)
    with path.open("r+b") as stream:
        stream.write(new.read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(path: Path) -> None:
    new = path.with_name("new.safetensors")
    save_file({"w": NEW}, new)
    new.replace(path)


def saved_again(path: Path) -> None:
    save_file({"w": NEW}, path)


CHANGES = [in_place, replaced, saved_again]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file({"w": OLD}, tmp_path / "w.safetensors")
    return tmp_path / "w.safetensors"


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_file_is_read_anew_and_refused_to_those_who_mean_the_old_one(
    path: Path, change: Callable[[Path], None]
) -> None:
    old = stored_tensors(str(path))["w"]
    assert torch.equal(old.evaluate(), OLD)
    change(path)
    with pytest.raises(WeightError, match=CHANGED):
        old.evaluate()
    new = stored_tensors(str(path))["w"]
    assert new != old
    assert torch.equal(new.evaluate(), NEW)
    assert torch.equal(StoredFile(str(path), "w", tensor("f32", 4)).evaluate(), NEW)


def test_a_link_that_moves(tmp_path: Path) -> None:
    for name, value in (("old", OLD), ("new", NEW)):
        (tmp_path / name).mkdir()
        save_file({"w": value}, tmp_path / name / "w.safetensors")
    link = tmp_path / "latest"
    link.symlink_to("old")
    path = str(link / "w.safetensors")
    old = stored_tensors(path)["w"]
    link.unlink()
    link.symlink_to("new")
    with pytest.raises(WeightError, match=CHANGED):
        old.evaluate()
    assert torch.equal(stored_tensors(path)["w"].evaluate(), NEW)
    link.unlink()
    link.symlink_to("old")
    assert torch.equal(old.evaluate(), OLD)


def test_other_names_and_types_of_a_changed_file(path: Path) -> None:
    assert set(stored_tensors(str(path))) == {"w"}
    save_file({"v": torch.ones(2, 3, dtype=torch.float16)}, path)
    assert {k: v.type for k, v in stored_tensors(str(path)).items()} == {"v": tensor("f16", 2, 3)}


def test_a_program_means_the_files_that_were_there_when_it_was_read(path: Path) -> None:
    text = 'program "p"\n\nweight @w : f32[4] = file("w.safetensors", "w") : f32[4]\n'
    source = path.with_name("p.gw")
    source.write_text(text)
    program = read_program(source)
    assert torch.equal(program.weights["w"].evaluate(), OLD)
    saved_again(path)
    with pytest.raises(WeightError, match=CHANGED):
        program.weights["w"].evaluate()
    assert torch.equal(read_program(source).weights["w"].evaluate(), NEW)
    # A file that is not there yet may come.
    absent = parse_program(text.replace("w.safetensors", str(path.with_name("later.safetensors"))))
    assert print_program(parse_program(print_program(absent))) == print_program(absent)
    save_file({"w": OLD}, path.with_name("later.safetensors"))
    assert torch.equal(absent.weights["w"].evaluate(), OLD)


def test_files_are_not_kept_open_without_end(tmp_path: Path) -> None:
    opened = len(os.listdir("/proc/self/fd"))
    for i in range(REMEMBERED + 9):
        save_file({"w": OLD + i}, tmp_path / f"{i}.safetensors")
        assert torch.equal(stored_tensors(str(tmp_path / f"{i}.safetensors"))["w"].evaluate(), OLD + i)
    assert len(os.listdir("/proc/self/fd")) <= opened + REMEMBERED
    assert torch.equal(stored_tensors(str(tmp_path / "0.safetensors"))["w"].evaluate(), OLD)


def test_what_is_no_regular_file_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.safetensors")
    for name in ("pipe.safetensors", "", "a\0b", "x" * 5000):
        with pytest.raises(WeightError, match=r"the file is missing|cannot be read"):
            tensor_file(str(tmp_path / name))


def test_a_header_longer_than_the_format_allows(tmp_path: Path) -> None:
    """A file of holes, which nobody should read into memory."""
    path = tmp_path / "holes.safetensors"
    with path.open("wb") as stream:
        stream.write((1 << 40).to_bytes(8, "little"))
        stream.truncate((1 << 40) + 8)
    with pytest.raises(WeightError, match="the safetensors header is damaged: it would be 1099511627776 bytes long"):
        tensor_file(str(path))
