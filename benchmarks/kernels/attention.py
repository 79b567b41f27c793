# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Attention on this CPU: decode against what memory gives, prefill against torch.

`python -m benchmarks.kernels.attention` prints for the heads of Qwen2.5-0.5B and of SmolLM2-135M how long a layer's
attention takes. Decode reads caches that the processor does not hold; its share is of the bandwidth that a kernel
reaches which only reads, in the same run. Starting TVM's threads, which a step does once, is measured and taken away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.kernels.timing import written
from graphwright.backends.tvm.cpu import Cpu, host_cpu
from graphwright.backends.tvm.kernels.attention import attention
from graphwright.backends.tvm.kernels.attention_form import AttentionForm
from graphwright.backends.tvm.tvm_library import T, llvm_target, tvm
from graphwright.runtime.cores import available_cores

COLD = 1 << 27
"""Bytes that are read between two readings of the same ones: four times the largest cache."""
CHUNK = 1 << 12
ROUNDS = 40

Run = Callable[[], object]


@dataclass(frozen=True)
class Heads:
    name: str
    heads: int
    kv_heads: int
    size: int

    def form(self, codes: bool) -> AttentionForm:
        share = "channel" if codes else None
        return AttentionForm(
            self.heads,
            self.kv_heads,
            self.size,
            self.size,
            self.size**-0.5,
            "causal",
            key_length=True,
            key_scale=share,
            value_scale=share,
        )


MODELS = (Heads("Qwen2.5-0.5B", 14, 2, 64), Heads("SmolLM2-135M", 9, 3, 64))


def main() -> None:
    threads = available_cores()
    os.environ["TVM_NUM_THREADS"] = str(threads)
    cpu = host_cpu()
    print(f"{cpu.name}, {threads} threads")
    for model in MODELS:
        for queries in (1, 4):
            for codes in (False, True):
                for context in (128, 2048, 8192):
                    print(decode_line(cpu, model, queries, context, codes), flush=True)
        print(prefill_line(cpu, model, 512, threads), flush=True)


def decode_line(cpu: Cpu, model: Heads, queries: int, context: int, codes: bool) -> str:
    kernel = built(written("attention", attention, cpu, model.form(codes), queries=queries), cpu)
    runs = decode_runs(kernel, model, queries, context, codes)
    reads = read_runs(cpu)
    least = least_seconds({"attention": runs, "read": reads, "start": start_runs(cpu)})
    seconds = max(least["attention"] - 2 * least["start"], 1e-9)
    size = 2 * model.kv_heads * context * model.size * (1 if codes else 4)
    share = size / seconds / (COLD / least["read"])
    kind = "int8" if codes else "float32"
    figure = f"{seconds * 1e6:8.1f} µs {size / seconds / 1e9:6.1f} GB/s {share:5.0%} of what reading reaches"
    return f"{model.name} decode {queries} at {context:5} {kind:7} {figure}"


def decode_runs(kernel: Any, model: Heads, queries: int, context: int, codes: bool) -> list[Run]:
    random = np.random.default_rng(0)
    shape = (1, model.kv_heads, context, model.size)
    copies = max(2, COLD // (2 * 4 * int(np.prod(shape))))
    q = random.standard_normal((1, model.heads, queries, model.size), np.float32)
    positions = np.arange(context - queries, context)[None]
    scales = [np.ones((model.kv_heads, model.size), np.float32)] * 2 if codes else []
    rest = tensors(
        positions, np.array([context]), *scales, np.zeros((1, queries, model.heads * model.size), np.float32)
    )
    (query,) = tensors(q)

    def cached() -> Any:
        x = random.standard_normal(shape, np.float32)
        return x.astype(np.int8) if codes else x

    caches = [tensors(cached(), cached()) for _ in range(copies)]
    return [lambda pair=pair: kernel(query, *pair, *rest) for pair in caches]


def read_runs(cpu: Cpu) -> list[Run]:
    lanes, rows = cpu.float_lanes, COLD // CHUNK // 4
    chunks = CHUNK // lanes

    @T.prim_func(private=True, s_tir=True)
    def read(x: T.Buffer((rows, CHUNK), "float32"), y: T.Buffer((rows, lanes), "float32")):
        with T.sblock("root"):
            for row in T.parallel(rows):
                with T.sblock("row"):
                    sums = T.sblock_alloc_buffer((8, lanes), "float32", scope="local")
                    for i in T.unroll(8):
                        sums[i, T.ramp(0, 1, lanes)] = T.broadcast(T.float32(0), lanes)
                    for j in range(chunks // 8):
                        for i in T.unroll(8):
                            sums[i, T.ramp(0, 1, lanes)] += x[row, T.ramp((j * 8 + i) * lanes, 1, lanes)]
                    y[row, T.ramp(0, 1, lanes)] = sums[0, T.ramp(0, 1, lanes)]
                    for i in T.unroll(7):
                        y[row, T.ramp(0, 1, lanes)] += sums[i + 1, T.ramp(0, 1, lanes)]

    kernel = built(read, cpu)
    arrays = tensors(np.ones((rows, CHUNK), np.float32), np.zeros((rows, lanes), np.float32))
    return [lambda: kernel(*arrays)]


def start_runs(cpu: Cpu) -> list[Run]:
    @T.prim_func(private=True, s_tir=True)
    def nothing(y: T.Buffer((64,), "float32")):
        with T.sblock("root"):
            for i in T.parallel(64):
                with T.sblock("one"):
                    y[i] = T.float32(0)

    kernel = built(nothing, cpu)
    arrays = tensors(np.zeros(64, np.float32))
    return [lambda: kernel(*arrays)]


def prefill_line(cpu: Cpu, model: Heads, tokens: int, threads: int) -> str:
    import torch

    torch.set_num_threads(threads)
    random = np.random.default_rng(0)
    kernel = built(written("attention", attention, cpu, model.form(False), queries=None), cpu)
    q = random.standard_normal((1, model.heads, tokens, model.size), np.float32)
    k, v = (random.standard_normal((1, model.kv_heads, tokens, model.size), np.float32) for _ in range(2))
    y = np.zeros((1, tokens, model.heads * model.size), np.float32)
    arrays = tensors(q, k, v, np.arange(tokens)[None], np.array([tokens]), y)
    query, key, value = (torch.from_numpy(x) for x in (q, k, v))
    peer = torch.nn.functional.scaled_dot_product_attention
    least = least_seconds(
        {
            "attention": [lambda: kernel(*arrays)],
            "torch": [lambda: peer(query, key, value, is_causal=True, enable_gqa=True)],
        }
    )
    seconds = least["attention"]
    flops = 2 * model.heads * tokens * (tokens + 1) * model.size
    speed = least["torch"] / seconds
    figure = f"{seconds * 1e6:8.1f} µs {flops / seconds / 1e9:6.1f} GFLOP/s, {speed:.2f} times torch's speed"
    return f"{model.name} prefill {tokens} {figure}"


def least_seconds(runs: Mapping[str, list[Run]]) -> dict[str, float]:
    """The least of each one's times; they take turns, and so do the runs of each."""
    least = dict.fromkeys(runs, float("inf"))
    for number in range(ROUNDS):
        for name, choices in runs.items():
            start = time.perf_counter()
            choices[number % len(choices)]()
            least[name] = min(least[name], time.perf_counter() - start)
    return least


def built(kernel: Any, cpu: Cpu) -> Any:
    module = tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")})
    # The pass that lets buffers share memory would forget which of them belong on the stack.
    with tvm.transform.PassContext(config={"tirx.disable_storage_rewrite": True}):
        return tvm.tirx.build(module, target=llvm_target(cpu), pipeline="s_tir")["main"]


def tensors(*arrays: Any) -> list[Any]:
    return [tvm.runtime.tensor(array) for array in arrays]


if __name__ == "__main__":
    main()
