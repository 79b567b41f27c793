# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false
# pyright: reportUnknownParameterType=false, reportUnknownLambdaType=false
# Annotations in scripts are read by TVM's parser, not by Python.
"""Attention on this CPU: decode against what memory gives, prefill against what the cores give and against torch.

`python -m benchmarks.kernels.attention` prints for the heads of Qwen2.5-0.5B and of SmolLM2-135M how long a layer's
attention takes. Decode reads caches that the processor does not hold; its time is told as a multiple of the time in
which the kernel of `benchmarks.kernels.bandwidth` reads as many bytes, in the same run. Starting TVM's threads, which a
step does once, is measured and taken away. Prefill is told as a share of what `benchmarks.kernels.peak` reaches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from benchmarks.kernels.bandwidth import read_runs
from benchmarks.kernels.peak import peak_flops, peak_runs
from benchmarks.kernels.timing import COLD, Run, least_seconds, use_threads, written
from graphwright.backends.tvm.cpu import Cpu, host_cpu
from graphwright.backends.tvm.kernels.attention import attention
from graphwright.backends.tvm.kernels.attention_form import AttentionForm
from graphwright.backends.tvm.tvm_library import T, llvm_target, tvm
from graphwright.runtime.cores import available_cores

ROUNDS = 40
PREFILL_ROUNDS = 8

Kind = Literal["float32", "float16", "int8", "int4"]
"""What a cache holds."""
BITS: dict[Kind, int] = {"float32": 32, "float16": 16, "int8": 8, "int4": 4}


@dataclass(frozen=True)
class Heads:
    name: str
    heads: int
    kv_heads: int
    size: int

    def form(self, kind: Kind) -> AttentionForm:
        share = "channel" if kind in ("int8", "int4") else None
        bits = 4 if kind == "int4" else 8
        numbers = "float16" if kind == "float16" else "float32"
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
            key_bits=bits,
            value_bits=bits,
            key_numbers=numbers,
            value_numbers=numbers,
        )


MODELS = (Heads("Qwen2.5-0.5B", 14, 2, 64), Heads("SmolLM2-135M", 9, 3, 64))


def main() -> None:
    threads = available_cores()
    use_threads(threads)
    cpu = host_cpu()
    print(f"{cpu.name}, {threads} threads")
    for model in MODELS:
        for queries in (1, 4):
            for kind in BITS:
                for context in (2048, 8192):
                    print(decode_line(cpu, model, queries, context, kind), flush=True)
        for tokens in (512, 4096, 8192):
            print(prefill_line(cpu, model, tokens, threads), flush=True)


def decode_line(cpu: Cpu, model: Heads, queries: int, context: int, kind: Kind) -> str:
    kernel = built(written("attention", attention, cpu, model.form(kind), queries=queries), cpu)
    runs = decode_runs(kernel, model, queries, context, kind)
    least = least_seconds({"attention": runs, "read": read_runs(cpu), "start": start_runs(cpu)}, ROUNDS)
    seconds = max(least["attention"] - 2 * least["start"], 1e-9)
    size = 2 * model.kv_heads * context * model.size * BITS[kind] // 8
    times = seconds / size * (COLD / least["read"])
    figure = f"{seconds * 1e6:8.1f} µs {size / seconds / 1e9:6.1f} GB/s, {times:.2f} times what reading takes"
    return f"{model.name} decode {queries} at {context:5} {kind:8} {figure}"


def decode_runs(kernel: Any, model: Heads, queries: int, context: int, kind: Kind) -> list[Run]:
    random = np.random.default_rng(0)
    shape = (1, model.kv_heads, context, model.size)
    copies = max(2, COLD // (2 * int(np.prod(shape)) * BITS[kind] // 8))
    q = random.standard_normal((1, model.heads, queries, model.size), np.float32)
    positions = np.arange(context - queries, context)[None]
    scales = [np.ones((model.kv_heads, model.size), np.float32)] * 2 if kind in ("int8", "int4") else []
    rest = tensors(
        positions, np.array([context]), *scales, np.zeros((1, queries, model.heads * model.size), np.float32)
    )
    (query,) = tensors(q)

    def cached() -> Any:
        if kind == "int4":
            return random.integers(0, 256, (*shape[:3], model.size // 2), np.uint8)
        return random.standard_normal(shape, np.float32).astype(kind)

    caches = [tensors(cached(), cached()) for _ in range(copies)]
    return [lambda pair=pair: kernel(query, *pair, *rest) for pair in caches]


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
    kernel = built(written("attention", attention, cpu, model.form("float32"), queries=None), cpu)
    q = random.standard_normal((1, model.heads, tokens, model.size), np.float32)
    k, v = (random.standard_normal((1, model.kv_heads, tokens, model.size), np.float32) for _ in range(2))
    y = np.zeros((1, tokens, model.heads * model.size), np.float32)
    arrays = tensors(q, k, v, np.arange(tokens)[None], np.array([tokens]), y)
    query, key, value = (torch.from_numpy(x) for x in (q, k, v))
    peer = torch.nn.functional.scaled_dot_product_attention
    least = least_seconds(
        {
            "attention": [lambda: kernel(*arrays)],
            "peak": peak_runs(cpu, threads),
            "torch": [lambda: peer(query, key, value, is_causal=True, enable_gqa=True)],
        },
        PREFILL_ROUNDS,
    )
    speed = 2 * model.heads * tokens * (tokens + 1) * model.size / least["attention"]
    share = speed / (peak_flops(cpu, threads) / least["peak"])
    figure = f"{least['attention'] * 1e3:8.2f} ms {speed / 1e9:6.1f} GFLOP/s, {share:.0%} of the peak, "
    figure += f"{least['torch'] / least['attention']:.2f} times torch's speed"
    return f"{model.name} prefill {tokens} {figure}"


def built(kernel: Any, cpu: Cpu) -> Any:
    module = tvm.IRModule({"main": kernel.with_attr("global_symbol", "main")})
    # The pass that lets buffers share memory would forget which of them belong on the stack.
    with tvm.transform.PassContext(config={"tirx.disable_storage_rewrite": True}):
        return tvm.tirx.build(module, target=llvm_target(cpu), pipeline="s_tir")["main"]


def tensors(*arrays: Any) -> list[Any]:
    return [tvm.runtime.tensor(array) for array in arrays]


if __name__ == "__main__":
    main()
