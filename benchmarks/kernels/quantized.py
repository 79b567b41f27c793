"""Products with weights of 4 and 8 bits on this CPU: `python -m benchmarks.kernels.quantized`.

Few tokens are held against the bandwidth that a kernel reaches which only reads; the weights are not in the caches.
Many tokens are held against the cores' peak for integers and against ONNX Runtime's MatMulNBits (4 bits, activations
rounded as here), all in the same run.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.kernels.bandwidth import read_runs
from benchmarks.kernels.integer_peak import integer_peak_operations, integer_peak_runs
from benchmarks.kernels.timing import COLD, Run, built, least_seconds, use_threads, written
from graphwright.backends.tvm.cpu import Cpu, host_cpu
from graphwright.backends.tvm.kernels.rounded_linear import rounded_linear
from graphwright.backends.tvm.kernels.weight_only_linear import weight_only_linear
from graphwright.backends.tvm.tvm_library import tvm
from graphwright.ir.dialects.cpu.packed_weights import PackedWeight
from graphwright.runtime.cores import available_cores
from graphwright.runtime.onnxruntime_api import import_onnxruntime

SHAPES = ((1152, 896), (896, 896), (9728, 896), (896, 4864), (151936, 896))
"""Rows and columns of the weights of Qwen2.5-0.5B."""
GROUP = 128
FEW = (1, 2, 4, 8)
MANY = (37, 128, 512)
ROUNDS = 30


def main() -> None:
    threads = available_cores()
    use_threads(threads)
    cpu = host_cpu()
    print(f"{cpu.name}, {threads} threads, groups of {GROUP}, scales float16")
    for outer, inner in SHAPES:
        for bits in (4, 8):
            weight = PackedWeight(outer, inner, bits, GROUP, "float16", zero_points=False)
            for line in few_lines(cpu, weight):
                print(line, flush=True)
    for outer, inner in SHAPES[:-1]:
        for count in MANY:
            weight = PackedWeight(outer, inner, 4, GROUP, "float16", zero_points=False)
            print(many_line(cpu, threads, count, weight), flush=True)


def few_lines(cpu: Cpu, weight: PackedWeight) -> Iterator[str]:
    """One row of each small number of tokens. A shape of little work is measured with as many rows as fill memory, so
    that starting threads, which a whole step does once, is not counted."""
    rows = weight.outer * max(1, round(COLD / 4 / _size(weight) / 2))
    tall = PackedWeight(rows, weight.inner, weight.bits, weight.group, weight.scale, zero_points=False)
    size = _size(tall)
    copies = [_arrays(tall) for _ in range(max(2, -(-COLD // size)))]
    runs: dict[str, list[Run]] = {"read": read_runs(cpu)}
    for count in FEW:
        x, y = _tensor(_tokens(count, weight.inner)), _tensor(np.zeros((count, rows), np.float32))
        integer = built(
            written("rounded_linear", rounded_linear, cpu, tokens=count, weight=tall, rounding=GROUP, bias=False), cpu
        )
        floats = built(written("linear_by_codes", weight_only_linear, cpu, tokens=count, weight=tall, bias=False), cpu)
        for name, kernel in ((f"a8 x{count}", integer), (f"a32 x{count}", floats)):
            runs[name] = [lambda k=kernel, x=x, w=w, y=y: k(x, *w, y) for w in copies]
    least = least_seconds(runs, ROUNDS)
    bandwidth = COLD / least.pop("read")
    for name, seconds in least.items():
        one = least[f"{name.split()[0]} x1"]
        share = f"{size / seconds / 1e9:6.1f} GB/s {size / seconds / bandwidth:5.0%} of {bandwidth / 1e9:.1f}"
        yield (
            f"{weight.outer:6} x {weight.inner:4} w{weight.bits}{name:8} "
            f"{seconds * weight.outer / rows * 1e6:9.1f} µs {share}, {seconds / one:.2f} of one token"
        )


def many_line(cpu: Cpu, threads: int, count: int, weight: PackedWeight) -> str:
    x = _tokens(count, weight.inner)
    arguments = [_tensor(x), *_arrays(weight), _tensor(np.zeros((count, weight.outer), np.float32))]
    integer = built(
        written("rounded_linear", rounded_linear, cpu, tokens=None, weight=weight, rounding=GROUP, bias=False), cpu
    )
    floats = built(written("linear_by_codes", weight_only_linear, cpu, tokens=None, weight=weight, bias=False), cpu)
    least = least_seconds(
        {
            "peak": integer_peak_runs(cpu, threads),
            "a8": [lambda: integer(*arguments)],
            "a32": [lambda: floats(*arguments)],
            "onnxruntime": [onnxruntime_run(weight, x, threads)],
        },
        ROUNDS,
    )
    operations = 2 * count * weight.outer * weight.inner
    peak = integer_peak_operations(cpu, threads) / least["peak"]
    speed = operations / least["a8"]
    return (
        f"{weight.outer:6} x {weight.inner:4} x{count:4} w4a8 {least['a8'] * 1e6:9.1f} µs {speed / 1e9:6.1f} GOP/s "
        f"{speed / peak:4.0%} of {peak / 1e9:.0f}, {least['onnxruntime'] / least['a8']:.2f}x onnxruntime; "
        f"w4a32 {operations / least['a32'] / 1e9:6.1f} GFLOP/s"
    )


def onnxruntime_run(weight: PackedWeight, x: NDArray[np.float32], threads: int) -> Run:
    """A product of the same size by ONNX Runtime, activations rounded to int8 in groups."""
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    blocks = -(-weight.inner // GROUP)
    codes = random.integers(0, 256, (weight.outer, blocks, GROUP // 2), dtype=np.uint8)
    scales = np.full(weight.outer * blocks, 0.01, np.float32)
    attributes: dict[str, Any] = {
        "K": weight.inner,
        "N": weight.outer,
        "bits": 4,
        "block_size": GROUP,
        "accuracy_level": 4,
    }
    node = helper.make_node("MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft", **attributes)
    graph = helper.make_graph(
        [node],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(codes, "codes"), numpy_helper.from_array(scales, "scales")],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model: Any = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that spin on after a run would disturb what is measured next.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=("CPUExecutionProvider",))
    return lambda: session.run(["y"], {"x": x})


def _size(weight: PackedWeight) -> int:
    return int(np.prod(weight.codes_shape) + np.prod(weight.scales_shape))


def _arrays(weight: PackedWeight) -> list[Any]:
    """Codes and scales that stand for some matrix."""
    random = np.random.default_rng(0)
    codes = random.integers(0, 256, weight.codes_shape, dtype=np.uint8)
    scales = np.full((weight.blocks, weight.groups, 16), 0.01, np.float16).view(np.uint8)
    return [_tensor(codes), _tensor(scales)]


def _tokens(count: int, inner: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal((count, inner), dtype=np.float32)


def _tensor(array: NDArray[Any]) -> Any:
    return tvm.runtime.tensor(array)


if __name__ == "__main__":
    main()
