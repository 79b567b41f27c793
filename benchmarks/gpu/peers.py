"""The same shapes in torch: as it is, and compiled over a static cache. Random weights, greedy tokens."""

from __future__ import annotations

import time
from importlib import import_module
from statistics import median
from typing import Any, cast

from benchmarks.checkpoint import configuration
from benchmarks.gpu.ours import REPEATS
from benchmarks.gpu.rows import BUNDLED, NEW_TOKENS, Row


def measure(row: Row) -> dict[str, float]:
    """Seconds a token, or to the first one, of `eager` or `compiled` torch on the GPU."""
    import torch

    library: Any = import_module("transformers")  # partly untyped
    compiler = cast(Any, torch).compile
    assert row.build.scheme is None, "rows of torch are of models of floats"
    dtype = torch.bfloat16 if row.build.dtype == "bf16" else torch.float16
    config: Any = library.AutoConfig.for_model(**configuration(BUNDLED[row.build.shape]))
    with torch.device("cuda"):
        model: Any = library.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
        ids = torch.randint(3, config.vocab_size, (row.batch, row.prompt))
        cache: Any = library.StaticCache(config=config, max_cache_len=row.prompt + NEW_TOKENS + 1)

    def step(tokens: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
        output: Any = model(tokens, past_key_values=cache, cache_position=position, use_cache=True, logits_to_keep=1)
        return output.logits[:, -1:].argmax(-1)

    decode: Any = step
    if row.system == "compiled":
        decode = compiler(step, mode="max-autotune", fullgraph=True)

    def run(count: int) -> float:
        cache.reset()
        torch.cuda.synchronize()
        began = time.perf_counter()
        token = step(ids, torch.arange(row.prompt, device="cuda"))
        for i in range(count - 1):
            token = decode(token.clone(), torch.tensor([row.prompt + i], device="cuda"))
        torch.cuda.synchronize()
        return time.perf_counter() - began

    tokens = 1 if row.kind == "prefill" else 1 + NEW_TOKENS
    with torch.inference_mode():
        run(tokens)
        first = median(run(1) for _ in range(REPEATS))
        if row.kind == "prefill":
            return {"seconds": first}
        return {"seconds": (median(run(tokens) for _ in range(REPEATS)) - first) / NEW_TOKENS}
