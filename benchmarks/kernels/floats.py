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
from benchmarks.kernels.timing import COLD, Run, built, least_seconds, use_threads, written
from graphwright.backends.tvm.cpu import Cpu, host_cpu
from graphwright.backends.tvm.kernels.bf16_linear import bf16_linear
from graphwright.backends.tvm.kernels.float_linear import linear
from graphwright.backends.tvm.library.layouts import packed_floats, packed_pairs
from graphwright.backends.tvm.tvm_library import tvm
from graphwright.ir.weights import StoredArray
from graphwright.runtime.cores import available_cores
from graphwright.runtime.onnxruntime_api import import_onnxruntime

SHAPES = ((1152, 896), (896, 896), (9728, 896), (896, 4864), (151936, 896))
"""Rows and columns of the weights of Qwen2.5-0.5B."""
MANY_ROWS = (37, 128, 512)
ROUNDS = 40
PAIRS = "pairs"
FORMS = ("float32", "bfloat16", PAIRS)
"""Element types of weights that are multiplied in float32; and bfloat16 in pairs, by which x is rounded too."""


def main() -> None:
    threads = available_cores()
    use_threads(threads)
    torch.set_num_threads(threads)
    cpu = host_cpu()
    print(f"{cpu.name}, {threads} threads, torch {torch.__version__}")
    for outer, inner in SHAPES:
        for form in FORMS:
            for line in few_rows_lines(cpu, outer, inner, form):
                print(line, flush=True)
    for outer, inner in SHAPES[:-1]:
        for form in FORMS:
            for count in MANY_ROWS:
                print(many_rows_line(cpu, threads, count, outer, inner, form), flush=True)


def kernel_of(cpu: Cpu, tokens: int | None, outer: int, inner: int, form: str) -> Any:
    if form == PAIRS:
        return built(written("bf16_linear", bf16_linear, cpu, tokens=tokens, inner=inner, outer=outer), cpu)
    return built(written("linear", linear, cpu, tokens=tokens, inner=inner, outer=outer, weight_dtype=form), cpu)


def packed(weight: torch.Tensor, form: str) -> torch.Tensor:
    """The weight as the kernel of that form reads it."""
    if form == PAIRS:
        return packed_pairs(StoredArray.of(weight)).evaluate().contiguous().view(torch.int32).squeeze(-1)
    return packed_floats(StoredArray.of(weight.to(getattr(torch, form)))).evaluate().contiguous()


def few_rows_lines(cpu: Cpu, outer: int, inner: int, form: str) -> Iterator[str]:
    weight = torch.randn(outer, inner)
    panels = packed(weight, form)
    size = panels.numel() * panels.element_size()
    copies = [_tensor(panels.clone()) for _ in range(max(2, -(-COLD // size)))]
    runs: dict[str, list[Run]] = {"read": read_runs(cpu)}
    for rows in (1, 2, 4, 8):
        kernel = kernel_of(cpu, rows, outer, inner, form)
        x, y = _tensor(torch.randn(rows, inner)), _tensor(torch.zeros(rows, outer))
        runs[f"{rows}"] = [lambda k=kernel, x=x, w=w, y=y: k(x, w, y) for w in copies]
    if form == "float32":
        vector = torch.randn(1, inner)
        plain = [weight.clone() for _ in copies]
        runs["torch 1"] = [lambda w=w: torch.nn.functional.linear(vector, w) for w in plain]
    least = least_seconds(runs, ROUNDS)
    bandwidth = COLD / least.pop("read")
    name = f"{outer:6} x {inner:4} {form:8}"
    for rows, seconds in least.items():
        speed = size / seconds
        ratio = f"{seconds / least['1']:.2f} of one row"
        figure = f"{speed / 1e9:6.1f} GB/s {speed / bandwidth:5.0%} of {bandwidth / 1e9:.1f}"
        yield f"{name} rows {rows:7} {seconds * 1e6:9.1f} µs {figure}, {ratio}"


def many_rows_line(cpu: Cpu, threads: int, count: int, outer: int, inner: int, form: str) -> str:
    wide = torch.randn(outer, inner)
    x, y = torch.randn(count, inner), torch.zeros(count, outer)
    kernel = kernel_of(cpu, None, outer, inner, form)
    arguments = [_tensor(t) for t in (x, packed(wide, form), y)]
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
    return f"{outer:6} x {inner:4} {form:8} rows {count:7} {figure}, {peers}"


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
