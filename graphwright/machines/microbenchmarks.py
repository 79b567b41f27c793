"""What this machine reaches: memory bandwidth, products in float32, and how soon one op follows another."""

import importlib.util
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from graphwright.errors import UsageError
from graphwright.files.temporary_folders import temporary_folder
from graphwright.runtime.cores import available_cores
from graphwright.runtime.onnxruntime_api import import_onnxruntime

ARRAY_BYTES = 1 << 30
PASSES = 8
PRODUCT_SIZE = 2048
"""Rows and columns of the matrices: large enough that packing them takes no time beside the product."""
TINY_OPS = 512


def read_bandwidth(array_bytes: int = ARRAY_BYTES, passes: int = PASSES) -> float:
    """Bytes per second of the fastest pass over an array far larger than the caches, with a thread for every core."""
    cores = len(os.sched_getaffinity(0))
    parts = np.array_split(np.ones(array_bytes // 8, dtype=np.int64), cores)
    with ThreadPoolExecutor(cores) as pool:
        return array_bytes / _least_seconds(lambda: list(pool.map(_read, parts)), passes)


def product_rate(size: int = PRODUCT_SIZE, passes: int = 3) -> float:
    """FLOPs per second of the product of two float32 matrices, by the fastest engine that is installed.

    Raises UsageError if there is none.
    """
    matrices = np.ones((2, size, size), dtype=np.float32)
    runs = [make(*matrices) for make in _engines((_onnx_product, _torch_product))]
    return 2 * size**3 / min(_least_seconds(run, passes) for run in runs)


def launch_seconds(count: int = TINY_OPS, passes: int = 20) -> float:
    """Seconds that one op on a single number takes in a row of `count`, by the fastest engine that is installed.

    Raises UsageError if there is none.
    """
    runs = [make(np.zeros(1, dtype=np.float32), count) for make in _engines((_onnx_row, _torch_row))]
    return min(_least_seconds(run, passes) for run in runs) / count


def _least_seconds(run: Callable[[], object], passes: int) -> float:
    least = float("inf")
    # Once more than asked: the first run starts threads and takes memory.
    for _ in range(passes + 1):
        start = time.perf_counter()
        run()
        least = min(least, time.perf_counter() - start)
    return least


def _read(part: NDArray[np.int64]) -> None:
    # An integer maximum is vectorized, costs next to nothing beside the loads, and releases the interpreter's lock.
    np.max(part)


def _engines(makers: tuple[Any, Any]) -> list[Any]:
    """Those of the makers, for ONNX Runtime and for torch, whose packages are installed."""
    by_onnx, by_torch = makers
    found: list[Any] = []
    if all(importlib.util.find_spec(name) for name in ("onnx", "onnxruntime")):
        found.append(by_onnx)
    if importlib.util.find_spec("torch"):
        found.append(by_torch)
    if not found:
        raise UsageError(
            "nothing here computes products to measure by: "
            "in the clone of Graphwright, run `pip install -e '.[compile]'`"
        )
    return found


def _onnx_product(x: NDArray[np.float32], y: NDArray[np.float32]) -> Callable[[], object]:
    from onnx import helper

    return _onnx_run([helper.make_node("MatMul", ["x", "y"], ["z"])], {"x": x, "y": y}, "z")


def _onnx_row(x: NDArray[np.float32], count: int) -> Callable[[], object]:
    from onnx import helper

    nodes = [helper.make_node("Sin", [f"x{i}" if i else "x"], [f"x{i + 1}"]) for i in range(count)]
    return _onnx_run(nodes, {"x": x}, f"x{count}")


def _onnx_run(nodes: list[Any], inputs: dict[str, NDArray[np.float32]], output: str) -> Callable[[], object]:
    from onnx import TensorProto, helper

    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape) for name, array in inputs.items()]
    result = helper.make_tensor_value_info(output, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "measured", infos, [result])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    with temporary_folder() as folder:
        path = folder / "measured.onnx"
        path.write_bytes(model.SerializeToString())
        session = onnxruntime.InferenceSession(str(path), options, providers=("CPUExecutionProvider",))
    return lambda: session.run([output], inputs)


def _torch_product(x: NDArray[np.float32], y: NDArray[np.float32]) -> Callable[[], object]:
    import torch

    left, right = torch.as_tensor(x), torch.as_tensor(y)
    return lambda: left @ right


def _torch_row(x: NDArray[np.float32], count: int) -> Callable[[], object]:
    import torch

    def run() -> torch.Tensor:
        value = torch.as_tensor(x)
        for _ in range(count):
            value = torch.sin(value)
        return value

    return run
