"""Archives of torch.export: numbers, symbols, and files that are none or run code."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from graphwright.frontend import CheckpointError, capture
from graphwright.frontend.archive.single_sizes import longest_without
from graphwright.ir import Notice, UnsupportedError, UserError, run
from tests.frontend.archives.write import Attention, write
from tests.frontend.compare import assert_round_trip, assert_same_function
from tests.models.handwritten import MODELS
from tests.tensors import manual_seed

S = "L['input_ids'].size()[1]"


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        manual_seed(0)
        self.embed, self.head = nn.Embedding(50, 8), nn.Linear(8, 50)
        self.register_buffer("scale", torch.randn(8), persistent=False)

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        x = self.embed(ids) * self.scale
        x = x if mask is None else x * mask[..., None]
        return {"scores": self.head(x), "hidden": x}


class Pair(nn.Module):
    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a @ b.mT, a + 1


Shapes = dict[str, Any] | tuple[Any, ...]
"""As `torch.export` takes them: in each place what stands for an input there."""


def saved(path: Path, module: nn.Module, *inputs: Tensor, shapes: Shapes | None = None, **named: Tensor) -> Path:
    exported = torch.export.export(module.eval(), inputs, named, dynamic_shapes=shapes)
    torch.export.save(exported, path)
    return path


def test_a_language_model(tmp_path: Path) -> None:
    module = MODELS["NanoGPT"]().eval()
    ids = torch.zeros(2, 11, dtype=torch.int64)
    path = saved(tmp_path / "own.pt2", module, ids, shapes=({0: Dim("batch"), 1: Dim("tokens", max=40)},))
    program = capture(path)
    assert [(v.name, str(v.type)) for v in program.graphs["forward"].inputs] == [("input_ids", "i64[B, S]")]
    assert list(program.graphs["forward"].outputs) == ["logits"]
    assert program.metadata["context_length"] == 40
    assert any(op.location == "blocks.0" for op in program.graphs["forward"])
    assert_round_trip(program)
    assert_same_function(program, module, shapes=((1, 1), (3, 7)), vocabulary=100)


def test_one_sequence_without_a_batch(tmp_path: Path) -> None:
    module = Masked()
    ids = torch.zeros(7, dtype=torch.int64)
    path = saved(tmp_path / "own.pt2", module, ids, shapes=({0: Dim("length")},))
    graph = capture(path).graphs["forward"]
    ids = torch.randint(0, 50, (3, 9))
    expected = torch.stack([module(row)["scores"] for row in ids])
    torch.testing.assert_close(run(graph, {"input_ids": ids})["logits"], expected)
    plain = capture(path, function=True).graphs["forward"]
    assert [(v.name, str(v.type)) for v in plain.inputs] == [("ids", "i64[B]")]


def test_named_inputs_and_outputs(tmp_path: Path) -> None:
    module = Masked()
    batch, length = Dim("batch"), Dim("length")
    shapes = {"ids": {0: batch, 1: length}, "mask": {0: batch, 1: length}}
    ids = torch.zeros(2, 11, dtype=torch.int64)
    graph = capture(saved(tmp_path / "m.pt2", module, ids, shapes=shapes, mask=torch.ones(2, 11))).graphs["forward"]
    assert {v.name: str(v.type) for v in graph.inputs} == {"ids": "i64[B, S]", "mask": "f32[B, S]"}
    ids, mask = torch.randint(0, 50, (3, 5)), torch.rand(3, 5)
    found, wanted = run(graph, {"ids": ids, "mask": mask}), module(ids, mask)
    assert list(found) == ["scores", "hidden"]
    torch.testing.assert_close(found["scores"], wanted["scores"].detach(), rtol=1e-5, atol=1e-6)


def test_sizes_of_their_own(tmp_path: Path) -> None:
    shapes = ({1: Dim("rows")}, {1: Dim("columns")})
    path = saved(tmp_path / "pair.pt2", Pair(), torch.randn(2, 3, 4), torch.randn(2, 5, 4), shapes=shapes)
    graph = capture(path).graphs["forward"]
    assert [str(v.type) for v in graph.inputs] == ["f32[2, S, 4]", "f32[2, T, 4]"]
    assert {n: str(v.type) for n, v in graph.outputs.items()} == {
        "output.0": "f32[2, S, T]",
        "output.1": "f32[2, S, 4]",
    }


def test_a_length_that_must_not_be_short(tmp_path: Path) -> None:
    shapes = ({0: Dim("batch", min=4)},)
    path = saved(tmp_path / "m.pt2", nn.Linear(4, 4), torch.randn(5, 4), shapes=shapes)
    with pytest.raises(UnsupportedError, match="as traced it takes 4 or more"):
        capture(path)


class Asks(nn.Module):
    """Computes something else at a batch or a length that it asks for."""

    def __init__(self, axis: int, size: int | None) -> None:
        super().__init__()
        self.axis, self.size = axis, size
        self.embed, self.head = nn.Embedding(50, 8), nn.Linear(8, 50)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        if ids.shape[self.axis] == (ids.shape[0] if self.size is None else self.size):
            x = x * 2
        return self.head(x)


@pytest.mark.parametrize(
    ("axis", "size", "message"),
    [
        (1, 8, r"leaves out a sequence of 8 .*; write the module for all sizes, or export it with Dim\(max=7\)"),
        (1, 2, r"leaves out a sequence of 2 .*; write the module for all sizes$"),
        (0, 3, "leaves out a batch of 3"),
        (1, None, "trace holds only where axis 1 of .* != axis 0 of"),
    ],
)
def test_a_size_that_a_trace_leaves_out(axis: int, size: int | None, message: str, tmp_path: Path) -> None:
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC(max=16)},)
    path = saved(tmp_path / "m.pt2", Asks(axis, size), torch.zeros(4, 11, dtype=torch.int64), shapes=shapes)
    with pytest.raises(UnsupportedError, match=message):
        capture(path)


@pytest.mark.parametrize(("size", "longest"), [(16, 15), (17, 16), (1, 16)])
def test_a_size_that_is_left_out_at_the_end(size: int, longest: int, tmp_path: Path) -> None:
    shapes = ({0: Dim.DYNAMIC, 1: Dim.DYNAMIC(max=16)},)
    module = Asks(1, size)
    path = saved(tmp_path / "m.pt2", module, torch.zeros(4, 11, dtype=torch.int64), shapes=shapes)
    with pytest.warns(Notice, match="cannot be checked that a batch or a length of one computes the same"):
        program = capture(path)
    assert program.metadata["context_length"] == longest
    assert_same_function(program, module, shapes=((2, 7), (1, longest)), vocabulary=50)


@pytest.mark.parametrize(
    ("guard", "longest"),
    [
        (f"{S}*2 != 16", None),
        (f"{S}*2 != 32", 15),
        (f"{S} - 16 != 0", 15),
        (f"{S} != 7 * 7", 16),
        (f"{S} % 8 != 7", None),
    ],
)
def test_conditions_that_leave_sizes_out(guard: str, longest: int | None) -> None:
    axes = {"input_ids": {0: "B", 1: "S"}}
    if longest is not None:
        assert longest_without([f"{S} >= 2", guard], axes, 16) == longest
        return
    with pytest.raises(UnsupportedError, match="leaves out a sequence of"):
        longest_without([guard], axes, 16)
    with pytest.raises(UnsupportedError, match="holds only where"):
        longest_without([guard], axes, None)


def test_what_comes_too_late(tmp_path: Path) -> None:
    path = saved(tmp_path / "m.pt2", nn.Linear(4, 4), torch.randn(5, 4))
    with pytest.raises(UserError, match="takes no example inputs"):
        capture(path, torch.randn(2, 4))
    with pytest.raises(UserError, match="dtype comes too late"):
        capture(path, dtype="bf16")


def altered(path: Path, suffix: str, content: bytes | None) -> Path:
    """A copy of an archive with the content of one of its files replaced, or the file left out."""
    copy = path.with_name("altered.pt2")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(copy, "w", zipfile.ZIP_STORED) as target:
        for name in source.namelist():
            if not name.endswith(suffix):
                target.writestr(name, source.read(name))
            elif content is not None:
                target.writestr(name, content)
    return copy


class Payload:
    ran = False

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return setattr, (Payload, "ran", True)


@pytest.mark.parametrize(
    ("suffix", "content", "message"),
    [
        ("archive_version", None, "has no archive_version"),
        ("archive_version", b"7", "archive version 7, this torch reads 0; export it with this torch"),
        ("models/model.json", b"{", "cannot read this archive"),
        ("sample_inputs/model.pt", pickle.dumps(Payload()), "cannot read this archive|sample"),
        ("data/weights/weight_0", None, "cannot read this archive"),
    ],
)
def test_damaged_archives(tmp_path: Path, suffix: str, content: bytes | None, message: str) -> None:
    path = altered(saved(tmp_path / "m.pt2", nn.Linear(4, 4), torch.randn(5, 4)), suffix, content)
    with pytest.raises(CheckpointError, match=message) as failure:
        capture(path)
    assert "\n" not in str(failure.value)
    assert not Payload.ran


@pytest.mark.parametrize("path", sorted(Path(__file__).with_name("archives").glob("*.pt2")), ids=lambda path: path.stem)
def test_archives_of_other_versions(path: Path) -> None:
    """Made by `archives/write.py` with the torch of their names; values are as in this torch."""
    program = capture(path)
    assert {v.name: str(v.type) for v in program.graphs["forward"].inputs} == {"ids": "i64[B, S]", "mask": "f32[B, S]"}
    assert program.metadata["context_length"] == 16
    ids, mask = torch.randint(0, 20, (2, 7)), torch.rand(2, 7)
    found, wanted = run(program.graphs["forward"], {"ids": ids, "mask": mask}), Attention().eval()(ids, mask)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value.detach(), rtol=1e-5, atol=1e-6)


def test_an_archive_of_this_version(tmp_path: Path) -> None:
    test_archives_of_other_versions(write(tmp_path))


def test_a_file_of_another_kind(tmp_path: Path) -> None:
    path = tmp_path / "text.pt2"
    path.write_text("not a zip")
    with pytest.raises(CheckpointError, match=r"text\.pt2: not an archive of torch\.export"):
        capture(path)
