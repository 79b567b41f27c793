"""`python -m benchmarks.prefill_forms`: packed, unpacked once a call, or a second float copy of a quantized weight.

For each shape of product and number of tokens the time of each form in ONNX Runtime, beside what the cost model
predicts, and the bytes that it holds. Prints figures; it states no expectation.
"""

from __future__ import annotations

import importlib
import os
import time
from typing import Annotated, Any

import numpy as np
import typer
from onnx import ModelProto, TensorProto, helper, numpy_helper
from rich.console import Console
from rich.table import Table

from graphwright.ir import Builder, DType, Graph, Program, QuantizedType, StoredArray, ops, tensor
from graphwright.ir.lazy import torch
from graphwright.ir.pricing import prefill_forms
from graphwright.ir.weights import Applied
from graphwright.machines.machine import choose_machine

SHAPES = {"Qwen2.5-0.5B gate and up": (9728, 896), "Qwen2.5-0.5B down": (896, 4864), "Llama-3.2-1B down": (2048, 8192)}
"""Rows and columns of weights."""
REPEATS = 7


def main(
    tokens: Annotated[int, typer.Option(min=1, help="New tokens of a prefill.")] = 512,
    group: Annotated[int, typer.Option(help="Inputs that share a scale: 32 or 128.")] = 128,
) -> None:
    """Time and bytes of each form."""
    machine = choose_machine("local")
    table = Table(title=f"4-bit weights in groups of {group}, {tokens} tokens, {os.cpu_count()} threads")
    for name in ("weight", "form", "measured", "predicted", "bytes held"):
        table.add_column(name, justify="left" if name in ("weight", "form") else "right")
    for name, (rows, columns) in SHAPES.items():
        measured = _measured(rows, columns, tokens, group)
        for form in prefill_forms(_program(rows, columns, group).graphs["forward"], tokens, machine):
            assert form.seconds is not None
            cells = f"{measured[form.form] * 1e3:.1f} ms", f"{form.seconds * 1e3:.1f} ms"
            table.add_row(name, form.form, *cells, f"{form.weight_bytes / 1e6:.1f} MB")
    Console().print(table)


def _program(rows: int, columns: int, group: int) -> Program:
    program, graph = Program("product"), Graph("forward")
    program.add_graph(graph)
    weight = StoredArray.of(torch.zeros(rows, columns))
    quantized = Applied.of(ops.round_to_nearest, (weight,), {"to": DType.I4, "group": group})
    assert isinstance(quantized.type, QuantizedType)
    x = graph.add_input("x", tensor("f32", "S", columns))
    graph.outputs["y"] = Builder(graph)(ops.linear, x, graph.weight(program.add_weight("w", quantized)), None)
    return program


def _measured(rows: int, columns: int, tokens: int, group: int) -> dict[str, float]:
    """Seconds of each form, the least of several runs that take turns."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, (rows, columns // group, group // 2), dtype=np.uint8)
    scales = random.random((rows, columns // group), dtype=np.float32)
    kept = random.random((columns, rows), dtype=np.float32)
    packed = helper.make_node(
        "MatMulNBits",
        ["x", "codes", "scales"],
        ["y"],
        domain="com.microsoft",
        K=columns,
        N=rows,
        bits=4,
        block_size=group,
        accuracy_level=4,
    )
    whole = TensorProto(name="codes", data_type=TensorProto.INT4, dims=[rows, columns], raw_data=codes.tobytes())
    unpack = helper.make_node("DequantizeLinear", ["codes", "scales"], ["w"], axis=1, block_size=group)
    stored = numpy_helper.from_array(scales, "scales")
    sessions = {
        "packed": _session([packed], [numpy_helper.from_array(codes, "codes"), stored], rows, columns),
        "unpacked": _session(
            [unpack, helper.make_node("Gemm", ["x", "w"], ["y"], transB=1)], [whole, stored], rows, columns
        ),
        "second copy": _session(
            [helper.make_node("MatMul", ["x", "w"], ["y"])], [numpy_helper.from_array(kept, "w")], rows, columns
        ),
    }
    x = random.standard_normal((tokens, columns), dtype=np.float32)
    seconds: dict[str, list[float]] = {name: [] for name in sessions}
    for _ in range(REPEATS):
        for name, session in sessions.items():
            begin = time.perf_counter()
            session.run(None, {"x": x})
            seconds[name].append(time.perf_counter() - begin)
    return {name: min(times) for name, times in seconds.items()}


def _session(nodes: list[Any], weights: list[TensorProto], rows: int, columns: int) -> Any:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["tokens", columns])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["tokens", rows])
    graph = helper.make_graph(nodes, "product", [x], [y], initializer=weights)
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)]
    model: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=11)
    # The package has no types.
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = len(os.sched_getaffinity(0))
    # Else ONNX Runtime makes the packed product of the unpacked one by itself.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    typer.run(main)
