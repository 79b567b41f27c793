from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from graphwright.ir import IRTypeError, Program, StoredArray, StoredFile, Weight, WeightError, ops, tensor
from graphwright.ir.safetensors_file import read_header
from graphwright.ir.torch_types import torch_dtype
from graphwright.ir.types import DType
from graphwright.ir.weights import Applied, sources
from tests.tensors import listed, save_file


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file({"w": torch.arange(6.0).reshape(2, 3), "half": torch.ones(4, dtype=torch.bfloat16)}, path)
    return path


def stored(path: Path, key: str = "w", type: str = "f32", *shape: int) -> StoredFile:
    return StoredFile(str(path), key, tensor(type, *(shape or (2, 3))))


def test_a_file_is_read_when_the_value_is_wanted(file: Path) -> None:
    assert read_header(str(file)) == {"w": tensor("f32", 2, 3), "half": tensor("bf16", 4)}
    assert listed(stored(file).evaluate()) == [[0, 1, 2], [3, 4, 5]]
    # Nothing is opened until then.
    assert Weight("w", stored(file.parent / "none.safetensors")).type == tensor("f32", 2, 3)


@pytest.mark.parametrize(
    ("key", "type", "shape", "problem"),
    [
        ("v", "f32", (2, 3), "there is no tensor 'v'"),
        ("w", "f16", (2, 3), r"tensor 'w' is f32\[2, 3\], the graph expects f16\[2, 3\]"),
        ("w", "f32", (3, 2), r"tensor 'w' is f32\[2, 3\], the graph expects f32\[3, 2\]"),
    ],
)
def test_a_file_without_the_tensor(file: Path, key: str, type: str, shape: tuple[int, ...], problem: str) -> None:
    with pytest.raises(WeightError, match=rf"model\.safetensors: {problem}"):
        stored(file, key, type, *shape).evaluate()


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(WeightError, match="the file is missing"):
        stored(tmp_path / "none.safetensors").evaluate()
    with pytest.raises(WeightError, match="the file is missing"):
        stored(tmp_path).evaluate()


def test_a_file_cut_short_anywhere(file: Path) -> None:
    whole = file.read_bytes()
    for length in [0, 4, 8, 40, len(whole) - 8, len(whole) - 1]:
        cut = file.parent / f"cut{length}.safetensors"
        cut.write_bytes(whole[:length])
        with pytest.raises(WeightError, match=rf"cut{length}\.safetensors: .*(cut short|damaged)"):
            stored(cut).evaluate()


def header(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changes}}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"not json", "header is damaged"),
        (b"[" * 50_000, "header is damaged"),
        (b"\xff\xff", "header is damaged"),
        ([], "header is damaged"),
        ({"w": 3}, "header is damaged"),
        ({"w": {"dtype": "F32"}}, "header is damaged"),
        (header(shape=["B", 3]), "header is damaged"),
        (header(shape=[-2, -3]), "header is damaged"),
        (header(shape=[10**100, 2]), "header is damaged"),
        (header(shape=[2**63 - 1] * 2000), "header is damaged"),
        (header(data_offsets=[]), "header is damaged"),
        (header(data_offsets=[0, -24]), "header is damaged"),
        (header(dtype="C64"), "tensor 'w' has the element type C64, which is not supported"),
        (header(shape=[2, 4]), r"tensor 'w' is f32\[2, 4\], but 24 bytes are kept for it"),
        (header(data_offsets=[4, 28]), "the header promises"),
    ],
)
def test_a_damaged_header(tmp_path: Path, content: Any, problem: str) -> None:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    path = tmp_path / "bad.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(24))
    with pytest.raises(WeightError, match=rf"bad\.safetensors: .*{problem}"):
        stored(path).evaluate()


def test_what_only_the_library_notices_is_our_error_too(tmp_path: Path) -> None:
    # Two tensors over the same bytes: every size fits.
    text = json.dumps({**header(), "v": header()["w"]}).encode()
    path = tmp_path / "overlap.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(24))
    with pytest.raises(WeightError, match=r"overlap\.safetensors: cannot be read"):
        stored(path).evaluate()


def transposed(expression: Any) -> Applied:
    return Applied.of(ops.transpose, (expression,), {"permutation": (1, 0)})


def test_an_applied_op_waits(file: Path) -> None:
    expression = transposed(stored(file))
    assert expression.type == tensor("f32", 3, 2)
    assert listed(expression.evaluate()) == [[0, 3], [1, 4], [2, 5]]
    late = transposed(stored(file.parent / "later.safetensors"))
    assert late.type == tensor("f32", 3, 2)
    with pytest.raises(WeightError, match="the file is missing"):
        late.evaluate()
    save_file({"w": torch.zeros(2, 3)}, file.parent / "later.safetensors")
    assert not late.evaluate().any()


def test_nested_transforms_and_absent_operands(file: Path) -> None:
    part = Applied.of(ops.slice, (stored(file),), {"axis": 0, "start": 1})
    both = Applied.of(ops.concat, (part, stored(file)), {"axis": 0})
    assert listed(both.evaluate()) == [[3, 4, 5], [0, 1, 2], [3, 4, 5]]
    assert list(sources(both)) == [stored(file), stored(file)]
    square = Applied.of(ops.linear, (both, both), {})
    assert len(square.operands) == 3
    assert torch.equal(square.evaluate(), both.evaluate() @ both.evaluate().T)


def test_transforms_that_do_not_fit(file: Path) -> None:
    with pytest.raises(IRTypeError, match=r"transpose: .* does not permute"):
        Applied.of(ops.transpose, (stored(file),), {"permutation": (0, 0)})
    with pytest.raises(IRTypeError, match="split: it has 2 results, a weight is one"):
        Applied.of(ops.split, (stored(file),), {"axis": 0, "sizes": (1, 1)})
    with pytest.raises(IRTypeError, match="linear: operand 'weight' is missing"):
        Applied.of(ops.linear, (stored(file),), {})


def test_transforms_run_in_float32_and_round_once() -> None:
    x = StoredArray.of(torch.full((2,), 1.0078125, dtype=torch.bfloat16))
    product = Applied.of(ops.mul, (x, x), {})
    assert product.evaluate().dtype is torch.bfloat16
    assert product.evaluate()[0] == torch.tensor(1.0078125**2).to(torch.bfloat16)


def test_equal_expressions_become_one_weight(file: Path) -> None:
    program = Program()
    first = program.add_weight("w", transposed(stored(file)))
    assert program.add_weight("w", transposed(stored(file))) is first
    other = program.add_weight("w", stored(file))
    assert other.name == "w.1"
    assert program.add_weight("w", stored(file)) is other
    assert program.add_weight("w", StoredArray.of(torch.ones(2))).name == "w.2"


def test_arrays_are_equal_only_to_themselves() -> None:
    array = torch.ones(2)
    one, same = StoredArray.of(array), StoredArray.of(array)
    assert one == one
    assert one != same


def test_signs_of_zero_and_values_that_are_no_number_are_told_apart() -> None:
    x = StoredArray.of(torch.ones(2))

    def scaled(value: float) -> Applied:
        number = Applied.of(ops.constant, (), {"value": value, "dtype": DType.F32})
        return Applied.of(ops.mul, (x, number), {})

    assert scaled(2.0) == scaled(2.0)
    assert scaled(0.0) != scaled(-0.0)
    assert scaled(float("nan")) == scaled(float("nan"))
    assert hash(scaled(float("nan"))) == hash(scaled(float("nan")))


def test_a_value_of_another_shape_or_type_than_declared() -> None:
    with pytest.raises(WeightError, match=r"weight 'w' is float32\[3\], declared f32\[2\]"):
        Weight("w", StoredArray(torch.ones(3), tensor("f32", 2))).evaluate()
    with pytest.raises(WeightError, match=r"weight 'w' is float32\[2\], declared bf16\[2\]"):
        Weight("w", StoredArray(torch.ones(2), tensor("bf16", 2))).evaluate()


def test_element_types_that_torch_lacks() -> None:
    assert torch_dtype(DType.I4) is torch.int8
    assert torch_dtype(DType.U3) is torch.uint8
    assert torch_dtype(DType.F4E2M1) is torch.uint8


def test_unused_weights_are_erased() -> None:
    from graphwright.ir import Builder, Graph

    program, graph = Program(), Graph("g")
    program.add_graph(graph)
    used = program.add_weight("used", StoredArray.of(torch.ones(2)))
    program.add_weight("unused", StoredArray.of(torch.ones(2)))
    graph.outputs["y"] = Builder(graph)(ops.neg, graph.weight(used))
    program.erase_unused_weights()
    assert list(program.weights) == ["used"]
