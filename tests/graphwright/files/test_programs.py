"""Programs as files: round trips, the sidecar, and nothing half-written."""

from pathlib import Path

import pytest
import torch

import graphwright
from graphwright import UsageError, read_program, write_program
from graphwright.files.programs import program_text
from graphwright.ir import Builder, Graph, Program, StoredArray, StoredFile, TensorType, ops, tensor, verify
from graphwright.ir.types import DType
from tests.tensors import listed, load_file, save_file


def program_of(*expressions: StoredArray | StoredFile) -> Program:
    """x + weights, each f32 of one axis."""
    program, graph = Program("sum"), Graph("forward")
    first = expressions[0].type
    assert isinstance(first, TensorType)
    value = graph.add_input("x", tensor(DType.F32, *first.shape))
    build = Builder(graph)
    for i, expression in enumerate(expressions):
        value = build(ops.add, value, graph.weight(program.add_weight(f"w{i}", expression)))
    graph.outputs["y"] = value
    program.add_graph(graph)
    verify(program)
    return program


def array(size: int, seed: int = 0) -> StoredArray:
    return StoredArray.of(torch.randn(size, generator=torch.Generator().manual_seed(seed)))


def values(program: Program) -> list[torch.Tensor]:
    return [weight.evaluate() for weight in program.weights.values()]


def test_small_arrays_are_spelt_out_exactly(tmp_path: Path) -> None:
    program = program_of(array(64))
    write_program(program, tmp_path / "a.gw")
    assert [p.name for p in tmp_path.iterdir()] == ["a.gw"]
    assert torch.equal(values(read_program(tmp_path / "a.gw"))[0], values(program)[0])


def test_large_arrays_go_beside_the_text(tmp_path: Path) -> None:
    program = program_of(array(65), array(65, seed=1))
    write_program(program, tmp_path / "deep" / "a.gw")
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["a.gw", "a.safetensors"]
    assert sorted(load_file(tmp_path / "deep" / "a.safetensors")) == ["w0", "w1"]
    again = read_program(tmp_path / "deep" / "a.gw")
    for ours, theirs in zip(values(program), values(again), strict=True):
        assert torch.equal(ours, theirs)
    assert all(isinstance(w.expression, StoredArray) for w in program.weights.values())


def test_reading_and_writing_again_changes_nothing(tmp_path: Path) -> None:
    write_program(program_of(array(100)), tmp_path / "a.gw")
    before = [(tmp_path / name).read_bytes() for name in ("a.gw", "a.safetensors")]
    write_program(read_program(tmp_path / "a.gw"), tmp_path / "a.gw")
    assert [(tmp_path / name).read_bytes() for name in ("a.gw", "a.safetensors")] == before


def test_an_array_added_to_a_program_that_was_read_keeps_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "a.gw"
    write_program(program_of(array(100)), path)
    stored = read_program(path).weights["w0"].expression
    assert isinstance(stored, StoredFile)
    write_program(program_of(stored, array(100, seed=1)), path)
    again = values(read_program(path))
    assert torch.equal(again[0], array(100).array)
    assert torch.equal(again[1], array(100, seed=1).array)


def test_paths_inside_the_folder_are_relative_and_others_absolute(tmp_path: Path) -> None:
    save_file({"w": torch.zeros(3)}, tmp_path / "weights.safetensors")
    program = program_of(StoredFile(str(tmp_path / "weights.safetensors"), "w", tensor(DType.F32, 3)))
    write_program(program, tmp_path / "a.gw")
    write_program(program, tmp_path / "elsewhere" / "b.gw")
    assert 'file("weights.safetensors", "w")' in (tmp_path / "a.gw").read_text()
    assert f'file("{tmp_path.resolve()}/weights.safetensors", "w")' in (tmp_path / "elsewhere" / "b.gw").read_text()
    assert torch.equal(values(read_program(tmp_path / "elsewhere" / "b.gw"))[0], torch.zeros(3))


def test_text_for_a_pipe_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = program_of(StoredFile(str(tmp_path / "in" / "w.safetensors"), "w", tensor(DType.F32, 3)), array(3))
    assert 'file("in/w.safetensors", "w")' in program_text(program)
    with pytest.raises(UsageError, match="4097 elements is held in memory"):
        program_text(program_of(array(4097)))


def test_a_checkpoints_weights_are_never_replaced(tmp_path: Path) -> None:
    save_file({"model": torch.ones(2)}, tmp_path / "model.safetensors")
    with pytest.raises(UsageError, match=r"model\.safetensors exists and belongs to something else"):
        write_program(program_of(array(100)), tmp_path / "model.gw")
    assert torch.equal(load_file(tmp_path / "model.safetensors")["model"], torch.ones(2))
    assert [p.name for p in tmp_path.iterdir()] == ["model.safetensors"]


def test_bad_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"ends in \.gw"):
        write_program(program_of(array(3)), tmp_path / "a.txt")
    with pytest.raises(UsageError, match="cannot be written"):
        write_program(program_of(array(3)), tmp_path / "file" / "a.gw")


def test_a_traced_module_survives_the_file(tmp_path: Path) -> None:
    from tests.graphwright.models import Own

    module = Own().eval()
    write_program(graphwright.trace(module), tmp_path / "own.gw")
    model = graphwright.compile(tmp_path / "own.gw", max_context=16)
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    torch.testing.assert_close(torch.as_tensor(model.logits(listed(ids))), module(ids).detach())
