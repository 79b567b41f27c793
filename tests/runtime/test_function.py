"""A plain function: named arrays in and out, checked against the manifest."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from graphwright.runtime import ArtifactError, ArtifactWriter, Function, GenerationError, SessionError, load_function
from graphwright.runtime.artifact import ModelInfo, Program, TensorSpec
from tests.runtime.program import TinyDecoder, write_artifact


def write(path: Path, dtype: Any = "float32") -> Path:
    """sum = left + right, picked = left[index]"""
    nodes = [
        helper.make_node("Add", ["left", "right"], ["sum"]),
        helper.make_node("Gather", ["left", "index"], ["picked"]),
    ]
    element = TensorProto.FLOAT if dtype == "float32" else TensorProto.BFLOAT16
    shapes: dict[str, tuple[int | str, ...]] = {"left": ("n", 2), "right": ("n", 2), "index": ("m",)}
    outputs: dict[str, tuple[int | str, ...]] = {"sum": ("n", 2), "picked": ("m", 2)}
    elements = {"index": TensorProto.INT64}
    graph = helper.make_graph(
        nodes,
        "function",
        [helper.make_tensor_value_info(name, elements.get(name, element), shape) for name, shape in shapes.items()],
        [helper.make_tensor_value_info(name, element, shape) for name, shape in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    with ArtifactWriter(path) as writer:
        writer.add_bytes("model.onnx", model.SerializeToString())
        program = Program(
            kind="function",
            backend="onnx",
            dialect="portable",
            file="model.onnx",
            inputs={
                name: TensorSpec(dtype="int64" if name == "index" else dtype, shape=shape)
                for name, shape in shapes.items()
            },
            outputs={name: TensorSpec(dtype=dtype, shape=shape) for name, shape in outputs.items()},
        )
        writer.commit(producer="tests", model=ModelInfo(name="f", architecture="F", parameters=0), program=program)
    return path


@pytest.fixture
def function(tmp_path: Path) -> Function:
    return load_function(write(tmp_path / "f"), threads=1)


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, dtype=np.float32)


def test_outputs_by_name(function: Function) -> None:
    left = np.arange(6, dtype=np.float32).reshape(3, 2)
    result = function(left=left, right=left, index=np.array([2]))
    assert result.keys() == {"sum", "picked"}
    np.testing.assert_array_equal(result["sum"], 2 * left)
    np.testing.assert_array_equal(result["picked"], left[2:])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"left": ones(3, 2)}, "takes the inputs left, right, index; given: left"),
        ({"left": ones(3, 2), "right": ones(3, 2), "index": np.array([0]), "x": 1}, "given: left, right, index, x"),
        (
            {"left": ones(3), "right": ones(3, 2), "index": np.array([0])},
            r"left must be float32 \[n, 2\]; it is float32 \[3\]",
        ),
        ({"left": ones(3, 3), "right": ones(3, 2), "index": np.array([0])}, r"left must be float32 \[n, 2\]"),
        (
            {"left": ones(3, 2), "right": ones(4, 2), "index": np.array([0])},
            r"right must be .*, n = 3; it is float32 \[4, 2\]",
        ),
        ({"left": [[1.0, 2.0]], "right": ones(1, 2), "index": np.array([0])}, "left must be float32 .* it is float64"),
    ],
)
def test_inputs_that_do_not_fit(function: Function, inputs: Any, message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        function(**inputs)


def test_a_function_that_fails(function: Function) -> None:
    with pytest.raises(SessionError, match=r"model\.onnx: the program failed: .*indices"):
        function(left=ones(1, 2), right=ones(1, 2), index=np.array([7]))


def test_a_model_is_not_a_function(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="holds a language model, not a plain function; load it with load"):
        load_function(write_artifact(tmp_path / "tiny", TinyDecoder()))


def test_bfloat16_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="exchanges bfloat16"):
        load_function(write(tmp_path / "f", "bfloat16"))
