"""Products with float weights on this CPU: `python -m benchmarks.kernels.floats`.

Few rows are held against the bandwidth that a kernel reaches which only reads; the weights are not in the caches. Many
rows are held against the cores' peak, and against ONNX Runtime and torch with the same weights, all in the same run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.kernels.bandwidth import read_runs
from benchmarks.kernels.peak import peak_flops, peak_runs
from benchmarks.kernels.timing import COLD, Run, built, least_seconds, use_threads
from graphwright.backends.tvm.cpu import Cpu, host_cpu
from graphwright.backends.tvm.kernels.float_linear import linear
from graphwright.backends.tvm.library.layouts import packed_floats
from graphwright.backends.tvm.tvm_library import tvm
from graphwright.ir.weights import StoredArray
from graphwright.runtime.cores import available_cores
from graphwright.runtime.onnxruntime_api import import_onnxruntime

SHAPES = ((1152, 896), (896, 896), (9728, 896), (896, 4864), (151936, 896))
"""Rows and columns of the weights of Qwen2.5-0.5B."""
MANY_ROWS = (37, 128, 512)
ROUNDS = 40


def main() -> None:
    threads = available_cores()
    use_threads(threads)
    torch.set_num_threads(threads)
    cpu = host_cpu()
    print(f"{cpu.name}, {threads} threads, torch {torch.__version__}")
    for outer, inner in SHAPES:
        for weight_dtype in ("float32", "bfloat16"):
            for line in few_rows_lines(cpu, outer, inner, weight_dtype):
                print(line, flush=True)
    for outer, inner in SHAPES[:-1]:
        for weight_dtype in ("float32", "bfloat16"):
            for count in MANY_ROWS:
                print(many_rows_line(cpu, threads, count, outer, inner, weight_dtype), flush=True)


def few_rows_lines(cpu: Cpu, outer: int, inner: int, weight_dtype: str) -> Iterator[str]:
    weight = torch.randn(outer, inner).to(getattr(torch, weight_dtype))
    panels = packed_floats(StoredArray.of(weight)).evaluate().contiguous()
    size = panels.numel() * panels.element_size()
    copies = [_tensor(panels.clone()) for _ in range(max(2, -(-COLD // size)))]
    runs: dict[str, list[Run]] = {"read": read_runs(cpu)}
    for rows in (1, 2, 4, 8):
        kernel = built(linear(cpu, tokens=rows, inner=inner, outer=outer, weight_dtype=weight_dtype), cpu)
        x, y = _tensor(torch.randn(rows, inner)), _tensor(torch.zeros(rows, outer))
        runs[f"{rows}"] = [lambda k=kernel, x=x, w=w, y=y: k(x, w, y) for w in copies]
    if weight_dtype == "float32":
        vector = torch.randn(1, inner)
        plain = [weight.clone() for _ in copies]
        runs["torch 1"] = [lambda w=w: torch.nn.functional.linear(vector, w) for w in plain]
    least = least_seconds(runs, ROUNDS)
    bandwidth = COLD / least.pop("read")
    name = f"{outer:6} x {inner:4} {weight_dtype:8}"
    for rows, seconds in least.items():
        speed = size / seconds
        ratio = f"{seconds / least['1']:.2f} of one row"
        figure = f"{speed / 1e9:6.1f} GB/s {speed / bandwidth:5.0%} of {bandwidth / 1e9:.1f}"
        yield f"{name} rows {rows:7} {seconds * 1e6:9.1f} µs {figure}, {ratio}"


def many_rows_line(cpu: Cpu, threads: int, count: int, outer: int, inner: int, weight_dtype: str) -> str:
    weight = torch.randn(outer, inner).to(getattr(torch, weight_dtype))
    wide = weight.float()
    x, y = torch.randn(count, inner), torch.zeros(count, outer)
    kernel = built(linear(cpu, tokens=None, inner=inner, outer=outer, weight_dtype=weight_dtype), cpu)
    arguments = [_tensor(t) for t in (x, packed_floats(StoredArray.of(weight)).evaluate().contiguous(), y)]
    flops = 2 * count * outer * inner
    least = least_seconds(
        {
            "peak": peak_runs(cpu, threads),
            "ours": [lambda: kernel(*arguments)],
            "onnxruntime": [onnxruntime_run(wide.numpy(), x.numpy(), threads)],
            "torch": [lambda: torch.nn.functional.linear(x, wide)],
        },
        ROUNDS,
    )
    peak = peak_flops(cpu, threads) / least["peak"]
    speed = flops / least["ours"]
    peers = ", ".join(f"{least[name] / least['ours']:.2f}x {name}" for name in ("onnxruntime", "torch"))
    figure = f"{least['ours'] * 1e6:9.1f} µs {speed / 1e9:6.1f} GFLOP/s {speed / peak:5.0%} of {peak / 1e9:.0f}"
    return f"{outer:6} x {inner:4} {weight_dtype:8} rows {count:7} {figure}, {peers}"


def onnxruntime_run(weight: NDArray[np.float32], x: NDArray[np.float32], threads: int) -> Run:
    """The same product by ONNX Runtime, with a constant weight, which it packs ahead."""
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(weight.T), "weight")],
    )
    model: Any = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin on after a run would disturb what is measured next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=("CPUExecutionProvider",))
    inputs: Mapping[str, Any] = {"x": x}
    return lambda: session.run(["y"], inputs)


def _tensor(array: torch.Tensor) -> Any:
    return tvm.runtime.from_dlpack(array)


if __name__ == "__main__":
    main()
