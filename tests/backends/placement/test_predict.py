"""Where ONNX Runtime puts nodes, on models that are small enough to say it by hand.

Each of them, but for the body of a Scan, was also given to onnxruntime-gpu 1.31.1 itself over stand-ins of CUDA's
libraries (`benchmarks.onnxruntime_kernels`), which placed and copied as said here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from onnx import NodeProto, TensorProto, ValueInfoProto, helper

from graphwright.backends.onnx.lower import Lowered
from graphwright.backends.onnx.placement import cuda_kernels, predict
from graphwright.backends.onnx.placement.kernels import read_kernels

FLOAT, HALF, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT64


def node(kind: str, inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(kind, inputs.split(), [output], name=output, **attributes)


def value(name: str, dtype: int, *shape: int | str) -> ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(
    nodes: Sequence[NodeProto], inputs: Sequence[ValueInfoProto], constants: Sequence[TensorProto] = ()
) -> Lowered:
    result = helper.make_empty_tensor_value_info(nodes[-1].output[0])
    graph = helper.make_graph([*nodes], "g", [*inputs], [result], initializer=[*constants])
    return Lowered(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)]), [], {})


X = value("x", FLOAT, "B", 4)
ONE = helper.make_tensor("one", INT64, [1], [1])


def test_what_has_a_kernel_runs_on_the_gpu_and_nothing_is_copied() -> None:
    found = predict(model([node("Relu", "x", "r"), node("Add", "r x", "s")], [X]))
    assert (found.without_kernel, found.sizes, found.copies) == ((), (), ())
    assert found.is_whole
    assert found.is_capturable


def test_a_node_without_a_kernel_is_copied_to_and_from() -> None:
    nodes = [node("Relu", "x", "r"), node("Unique", "r", "u"), node("Relu", "u", "s")]
    found = predict(model(nodes, [X]))
    assert found.without_kernel == ("u",)
    assert found.copies == ("r", "u")
    assert not found.is_whole


def test_sizes_are_computed_on_the_cpu() -> None:
    nodes = [
        node("Shape", "x", "size", start=0, end=1),
        node("Add", "size one", "more"),
        node("Expand", "x more", "e"),
    ]
    found = predict(model(nodes, [X], [ONE]))
    assert found.sizes == ("more",)
    assert found.copies == ()


def test_a_size_that_meets_an_input_takes_it_to_the_cpu() -> None:
    """So a sum with a length is copied to the GPU, where another reader wants it."""
    nodes = [
        node("Relu", "x", "r"),
        node("Shape", "r", "size", start=0, end=1),
        node("Add", "size lengths", "last"),
        node("Gather", "r last", "row"),
    ]
    found = predict(model(nodes, [X, value("lengths", INT64, "B")], [ONE]))
    assert found.sizes == ("last",)
    assert found.copies == ("last",)


def test_an_input_that_is_read_on_both_sides_is_copied() -> None:
    nodes = [node("Reshape", "x shape", "r"), node("Add", "shape one", "s")]
    assert predict(model(nodes, [X, value("shape", INT64, 2)], [ONE])).copies == ("shape",)


def test_floats_of_two_bytes_do_not_go_to_the_cpu_with_a_size() -> None:
    nodes = [node("Shape", "x", "size"), node("Cast", "size", "f", to=HALF), node("Relu", "f", "r")]
    found = predict(model(nodes, [X]))
    assert found.sizes == ("f",)
    assert found.copies == ("f",)


def test_a_body_is_not_looked_into() -> None:
    body = helper.make_graph([node("Identity", "a", "b")], "body", [value("a", FLOAT)], [value("b", FLOAT)])
    scan = node("Scan", "x", "s", body=body, num_scan_inputs=1)
    found = predict(model([scan], [X]))
    assert found.bodies == ("s",)
    assert not found.is_whole


@pytest.mark.parametrize(
    ("kind", "types", "expected"),
    [
        (("GroupQueryAttention", "com.microsoft"), {0: "float16", 3: "float16"}, True),
        (("GroupQueryAttention", "com.microsoft"), {0: "bfloat16", 3: "int8"}, True),
        (("GroupQueryAttention", "com.microsoft"), {0: "float16", 3: "bfloat16"}, False),
        (("GroupQueryAttention", "com.microsoft"), {0: "float", 3: "float"}, False),
        (("MatMulNBits", "com.microsoft"), {0: "float16", 1: "uint8", 2: "float16"}, True),
        (("MatMulNBits", "com.microsoft"), {0: "float16", 1: "uint8", 2: "float"}, False),
        (("Concat", ""), {0: "float16", 5: "float16"}, True),
        (("Concat", ""), {0: "float16", 5: "string"}, False),
        (("ReduceMax", ""), {0: "bfloat16"}, False),
    ],
)
def test_types_of_kernels(kind: tuple[str, str], types: dict[int, str], expected: bool) -> None:
    assert any(kernel.takes(types, {}) for kernel in cuda_kernels()[kind]) == expected


def test_results_have_types_too() -> None:
    (cast,) = read_kernels("# said by\nCast - 0=float|int64 >0=float16\n")["Cast", ""]
    assert cast.takes({0: "int64"}, {0: "float16"})
    assert not cast.takes({0: "int64"}, {0: "float"})
