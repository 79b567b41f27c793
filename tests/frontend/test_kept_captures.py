"""Captures that are kept: the same program and artifact as a fresh one, and never one of other files or other code."""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

import graphwright
from graphwright import cli
from graphwright.frontend import capture, checkpoint, kept_captures
from graphwright.frontend.kept_captures import capture_once
from graphwright.ir import Builder, Graph, Notice, Program, StoredArray, notify, ops, origin, print_program, tensor
from graphwright.ir.cache_folder import make_room
from graphwright.ir.location import Location
from graphwright.ir.origin import runs_our_code_alone
from graphwright.ir.weights import Applied, WeightExpression, stored_tensors
from tests.frontend.zoo import tiny
from tests.tensors import listed, save_file


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, in a process of which it is known that nothing was replaced in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(origin, "runs_our_code_alone", lambda: True)
    make_room.cache_clear()
    yield tmp_path / "cache" / "graphwright" / "captures"
    make_room.cache_clear()


def expressions(program: Program) -> dict[str, str]:
    """Weights with their files' identities, and the values of those in memory."""
    return {name: spelt(weight.expression) for name, weight in program.weights.items()}


def spelt(expression: WeightExpression) -> str:
    if isinstance(expression, Applied):
        operands = [None if each is None else spelt(each) for each in expression.operands]
        return f"{expression.definition.name}{operands}{expression.attribute_text}"
    if isinstance(expression, StoredArray):
        values: list[object] = listed(expression.array)
        return str(values)
    return repr(expression)


def lines(program: Program) -> list[str]:
    locations = [op.location for graph in program.graphs.values() for op in graph]
    return [location.source if isinstance(location, Location) else "" for location in locations]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_kept_capture_makes_the_same_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    tiny("mixtral", num_hidden_layers=1).save_pretrained(folder)
    made: list[Program] = []
    capture_checkpoint = checkpoint.capture_checkpoint

    def watched(*arguments: Any, **options: Any) -> Program:
        made.append(capture_checkpoint(*arguments, **options))
        return made[-1]

    monkeypatch.setattr(checkpoint, "capture_checkpoint", watched)
    for name in ("first", "second"):
        graphwright.compile(folder, output=tmp_path / name)
    again = capture(folder)
    (fresh,) = made
    again.name = fresh.name  # the compiler gave it the folder's
    assert print_program(again) == print_program(fresh)
    assert expressions(again) == expressions(fresh)
    assert lines(again) == lines(fresh)
    assert any("modeling_" in line for line in lines(again))
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


class Maker:
    """Captures something, with a notice, and counts how often."""

    def __init__(self, file: Path) -> None:
        self.file, self.times = file, 0

    def __call__(self) -> Program:
        self.times += 1
        program = Program("made")
        graph = program.add_graph(Graph("forward"))
        build = Builder(graph, location=Location("layer", "model.py:7"))
        stored = program.add_weight("stored", stored_tensors(str(self.file))["w"])
        made = program.add_weight(
            "made", StoredArray.of(torch.tensor([float("nan"), -0.0, 1 / 3], dtype=torch.float32))
        )
        x = build(ops.mul, graph.add_input("x", tensor("f32", "B", 3)), graph.weight(stored))
        graph.outputs = {"y": build(ops.add, x, graph.weight(made))}
        notify(f"made of {self.file.name}")
        return program


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    save_file({"w": torch.ones(3)}, folder / "w.safetensors")
    return folder


@pytest.fixture
def maker(folder: Path) -> Maker:
    return Maker(folder / "w.safetensors")


def again(maker: Maker, folder: Path, options: object = ("f32",)) -> Program:
    with pytest.warns(Notice, match=r"^made of w\.safetensors$") as given:
        program = capture_once(maker, [folder], options)
    assert len(given) == 1
    return program


def test_what_the_text_does_not_say_is_kept_too(maker: Maker, folder: Path) -> None:
    first, second = again(maker, folder), again(maker, folder)
    assert maker.times == 1
    assert print_program(first) == print_program(second)
    assert expressions(first) == expressions(second)
    assert lines(second) == ["model.py:7"] * 2


def other_version(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    (folder.parent / "site").mkdir()
    (folder.parent / "site" / "mamba_ssm-2.0.dist-info").mkdir()
    monkeypatch.syspath_prepend(folder.parent / "site")  # pyright: ignore[reportUnknownMemberType] - an untyped path


def edited_library(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    look = origin._library_source

    def edited(package: str) -> list[tuple[str, int, int]]:
        return [*look(package), (package, 1, 2)]

    monkeypatch.setattr(origin, "_library_source", edited)


def same_size_and_time(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    file = folder / "w.safetensors"
    status = file.stat()
    file.write_bytes(file.read_bytes()[:-1] + b"\1")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def other_source(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def other(*roots: object) -> str:
        return "other"

    monkeypatch.setattr(origin, "source_digest", other)


CHANGES: dict[str, Callable[[pytest.MonkeyPatch, Path], object]] = {
    "a file's text": lambda patch, folder: (folder / "config.json").write_text("{ }"),
    "a weight, in a file of the same size and time": same_size_and_time,
    "a new file": lambda patch, folder: (folder / "adapter_config.json").write_text("{}"),
    "one file fewer": lambda patch, folder: (folder / "config.json").unlink(),
    "the environment": lambda patch, folder: patch.setenv("HF_SOMETHING", "1"),
    "our source": other_source,
    "what is installed": other_version,
    "a library's source": edited_library,
    "Python": lambda patch, folder: patch.setattr("sys.version", "3.99"),
    "the processor": lambda patch, folder: patch.setattr(origin, "_processor", list),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_origin_is_another_capture(
    monkeypatch: pytest.MonkeyPatch, maker: Maker, folder: Path, change: Callable[[pytest.MonkeyPatch, Path], object]
) -> None:
    again(maker, folder)
    change(monkeypatch, folder)
    again(maker, folder)
    assert maker.times == 2
    again(maker, folder)
    assert maker.times == 2


def test_options_and_places_tell_captures_apart(maker: Maker, folder: Path) -> None:
    again(maker, folder)
    again(maker, folder, ("bf16",))
    copy = Path(shutil.copytree(folder, folder.with_name("copy"), copy_function=os.link))
    again(Maker(copy / "w.safetensors"), copy)
    torch.set_default_dtype(torch.float64)
    try:
        again(maker, folder)
    finally:
        torch.set_default_dtype(torch.float32)
    assert maker.times == 3


Damage = Callable[[bytes], bytes]
DAMAGES: list[Damage] = [lambda c: c[:-1], lambda c: b"", lambda c: c.replace(b"layer", b"laser")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_made_anew(maker: Maker, folder: Path, kept: Path, damage: Damage) -> None:
    again(maker, folder)
    (entry,) = kept.iterdir()
    entry.write_bytes(damage(entry.read_bytes()))
    assert [op.location for op in again(maker, folder).graphs["forward"]] == ["layer"] * 2
    again(maker, folder)
    assert maker.times == 2


def test_a_cache_that_cannot_be_written_to_is_no_error(maker: Maker, folder: Path, kept: Path) -> None:
    kept.parent.parent.mkdir()
    kept.parent.write_text("no folder")
    again(maker, folder)
    again(maker, folder)
    assert maker.times == 2


def test_captures_at_once_agree(maker: Maker, folder: Path) -> None:
    with warnings.catch_warnings(), ThreadPoolExecutor(4) as pool:
        warnings.simplefilter("ignore")
        programs = [each.result() for each in [pool.submit(capture_once, maker, [folder], None) for _ in range(8)]]
    assert len({print_program(program) for program in programs}) == 1


def unkept(maker: Maker, folder: Path, kept: Path) -> bool:
    again(maker, folder)
    return not kept.exists()


def test_weights_that_lie_elsewhere_are_not_kept(tmp_path: Path, maker: Maker, folder: Path, kept: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    maker.file = Path(shutil.copy(maker.file, tmp_path / "elsewhere"))
    assert unkept(maker, folder, kept)


def test_large_arrays_are_not_kept(monkeypatch: pytest.MonkeyPatch, maker: Maker, folder: Path, kept: Path) -> None:
    monkeypatch.setattr(kept_captures, "LARGEST", 11)
    assert unkept(maker, folder, kept)


def test_files_that_change_meanwhile_are_not_kept(maker: Maker, folder: Path, kept: Path) -> None:
    def changing() -> Program:
        program = maker()
        (folder / "config.json").write_text("other")
        return program

    with pytest.warns(Notice):
        capture_once(changing, [folder], None)
    assert not kept.exists()


def test_the_users_own_inputs_are_not_kept(tmp_path: Path, kept: Path) -> None:
    layer: Any = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=8, hidden_size=8, num_hidden_layers=0, num_attention_heads=1, intermediate_size=8
        )
    )
    layer.save_pretrained(tmp_path / "bert")
    capture(tmp_path / "bert", {"input_ids": torch.zeros(2, 5, dtype=torch.int64)})
    assert not kept.exists()


def test_nothing_is_kept_where_libraries_may_be_changed(
    monkeypatch: pytest.MonkeyPatch, maker: Maker, folder: Path, kept: Path
) -> None:
    def unchanged(self: torch.nn.Linear, x: torch.Tensor) -> torch.Tensor:
        return x

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.Linear, "forward", unchanged)
        assert unkept(maker, folder, kept)
    with monkeypatch.context() as patch:
        patch.setattr(origin, "runs_our_code_alone", lambda: False)
        assert unkept(maker, folder, kept)
        # Nobody can have changed what nobody has imported.
        patch.delitem(sys.modules, "transformers")
        assert not unkept(maker, folder, kept)


def test_the_command_line_runs_our_code_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("graphwright_model_")]:
        monkeypatch.delitem(sys.modules, name)
    assert not runs_our_code_alone()
    monkeypatch.setattr(sys.modules["__main__"], "main", cli.main, raising=False)
    assert runs_our_code_alone()
    monkeypatch.setitem(sys.modules, "graphwright_model_user", sys)
    assert not runs_our_code_alone()
