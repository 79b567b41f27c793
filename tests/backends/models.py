"""Small decoders in optimized form, built by hand with random weights: one of each kind that backends must compile."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch

from graphwright.ir import Builder, Graph, Program, StateType, Value, clone_graph, ops, tensor
from graphwright.ir.types import DType
from graphwright.ir.weights import StoredArray

CONTEXT = 64


@dataclass(frozen=True)
class Shape:
    """Of a decoder; the defaults are a llama's."""

    layers: int = 2
    hidden: int = 64
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 16
    inner: int = 96
    vocabulary: int = 48
    rotary_pairs: int | None = None
    interleaved: bool = False
    tied: bool = False
    biases: bool = False
    qk_norm: bool = False
    window: int = 0
    window_every: int = 1
    softcap: float = 0.0
    logits_softcap: float = 0.0
    sinks: bool = False
    norm: Literal["rms", "layer"] = "rms"
    learned_positions: bool = False
    parallel: bool = False
    activation: str = "silu"
    gated: bool = True
    mask: str | None = None
    bias_on_scores: bool = False
    packed: bool = True
    head_sizes: tuple[int, ...] = ()


class _Maker:
    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape = shape
        self.generator = torch.Generator().manual_seed(seed)
        self.program = Program("test")
        self.graph = self.program.add_graph(Graph("prefill"))
        self.build = Builder(self.graph)

    def array(self, name: str, *size: int, scale: float | None = None, offset: float = 0.0) -> Value:
        spread: float = size[-1] ** -0.5 if scale is None else scale
        value = torch.randn(*size, generator=self.generator) * spread + offset
        return self.graph.weight(self.program.add_weight(name, StoredArray.of(value)))

    def linear(self, name: str, x: Value, out: int) -> Value:
        bias = self.array(f"{name}.bias", out, scale=0.3) if self.shape.biases else None
        return self.build(ops.linear, x, self.array(f"{name}.weight", out, x.type.shape[-1].evaluate({})), bias)

    def norm(self, name: str, x: Value) -> Value:
        size = x.type.shape[-1].evaluate({})
        weight = self.array(f"{name}.weight", size, scale=0.2, offset=1.0)
        if self.shape.norm == "rms":
            return self.build(ops.rms_norm, x, weight, epsilon=1e-5)
        return self.build(ops.layer_norm, x, weight, self.array(f"{name}.bias", size, scale=0.2), epsilon=1e-5)


def decoder(shape: Shape = Shape(), seed: int = 0) -> Program:
    """A program with prefill and decode graphs in the form that passes hand to backends."""
    m = _Maker(shape, seed)
    g, b = m.graph, m.build
    ids = g.add_input("input_ids", tensor("i64", "B", "S"))
    past = g.add_input("past_length", tensor("i64", "B"))
    new = g.add_input("new_length", tensor("i64", "B"))
    logit_positions = g.add_input("logit_positions", tensor("i64", "B", "N"))
    sizes = shape.head_sizes or (shape.head_size,) * shape.layers
    caches = [
        [
            g.add_input(f"past.{i}.{n}", StateType("contiguous", tensor("f32", "B", shape.kv_heads, "C", size)))
            for n in ("key", "value")
        ]
        for i, size in enumerate(sizes)
    ]
    table = m.array("embed.weight", shape.vocabulary, shape.hidden, scale=0.5)
    x = b(ops.embedding, table, ids)
    positions = b(
        ops.add,
        b(ops.reshape, past, shape=(past.type.shape[0], 1)),
        b(ops.iota, size=ids.type.shape[1], dtype=DType.I64),
    )
    length = b(ops.add, past, new)
    if shape.learned_positions:
        x = b(ops.add, x, b(ops.embedding, m.array("positions.weight", CONTEXT, shape.hidden, scale=0.5), positions))
    presents: dict[str, Value] = {}
    for i, (size, cache) in enumerate(zip(sizes, caches, strict=True)):
        b.location = f"layers.{i}"
        at = f"layers.{i}"
        normed = m.norm(f"{at}.norm1", x)
        attended, appended = _attention(m, at, i, size, normed, cache, positions, past, length)
        presents |= {f"present.{i}.{n}": v for n, v in zip(("key", "value"), appended, strict=True)}
        if shape.parallel:
            x = b(ops.add, x, b(ops.add, attended, _mlp(m, at, normed)))
        else:
            x = b(ops.add, x, attended)
            x = b(ops.add, x, _mlp(m, at, m.norm(f"{at}.norm2", x)))
    b.location = "head"
    x = m.norm("norm", b(ops.take_tokens, x, logit_positions))
    head = table if shape.tied else m.array("head.weight", shape.vocabulary, shape.hidden)
    logits = b(ops.linear, x, head)
    if shape.logits_softcap:
        logits = b(ops.softcap, logits, cap=shape.logits_softcap)
    g.outputs = {"logits": logits, **presents}
    m.program.add_graph(clone_graph(g, "decode", {"S": 1}))
    m.program.metadata = {
        "context_length": CONTEXT,
        "vocabulary_size": shape.vocabulary,
        "architecture": "TestForCausalLM",
        "bos_token_ids": (1,),
        "eos_token_ids": (2,),
    }
    return m.program


def _attention(
    m: _Maker,
    at: str,
    layer: int,
    size: int,
    x: Value,
    cache: list[Value],
    positions: Value,
    past: Value,
    length: Value,
) -> tuple[Value, list[Value]]:
    shape, b = m.shape, m.build
    sizes = (shape.heads * size, shape.kv_heads * size, shape.kv_heads * size)
    if shape.packed:
        q, k, v = b.op(ops.split, m.linear(f"{at}.qkv", x, sum(sizes)), axis=2, sizes=sizes).results
    else:
        q, k, v = (m.linear(f"{at}.{n}", x, s) for n, s in zip("qkv", sizes, strict=True))
    q, k, v = (b(ops.split_heads, t, heads=h) for t, h in ((q, shape.heads), (k, shape.kv_heads), (v, shape.kv_heads)))
    if shape.qk_norm:
        q, k = m.norm(f"{at}.q_norm", q), m.norm(f"{at}.k_norm", k)
    if not shape.learned_positions:
        pairs = shape.rotary_pairs or size // 2
        frequencies = m.graph.weight(m.program.add_weight(f"frequencies.{size}.{pairs}", _frequencies(pairs)))
        q, k = (b(ops.rope, t, positions, frequencies, interleaved=shape.interleaved) for t in (q, k))
    keys, values = b(ops.kv_append, cache[0], k, past), b(ops.kv_append, cache[1], v, past)
    sliding = shape.window and layer % shape.window_every == 0
    bias = None
    if shape.bias_on_scores:
        distance = b(ops.cast, b(ops.iota, size=cache[0].type.shape[2], dtype=DType.I64), dtype=DType.F32)
        slopes = b(ops.reshape, m.array(f"{at}.slopes", shape.heads, scale=0.2), shape=(1, shape.heads, 1, 1))
        bias = b(ops.mul, slopes, distance)
    mask = shape.mask or ("sliding" if sliding else "causal")
    attended = b(
        ops.attention,
        q,
        keys,
        values,
        positions,
        length,
        bias,
        m.array(f"{at}.sinks", shape.heads, scale=1.0) if shape.sinks else None,
        scale=size**-0.5,
        mask=mask,
        window=shape.window if mask not in ("causal", "full") else 0,
        softcap=shape.softcap,
    )
    return m.linear(f"{at}.o", b(ops.merge_heads, attended), shape.hidden), [keys, values]


_KNOWN: dict[int, StoredArray] = {}


def _frequencies(pairs: int) -> StoredArray:
    return _KNOWN.setdefault(pairs, StoredArray.of(100.0 ** (-torch.arange(pairs, dtype=torch.float32) / pairs)))


def _mlp(m: _Maker, at: str, x: Value) -> Value:
    shape, b = m.shape, m.build
    if shape.gated:
        both = m.linear(f"{at}.gate_up", x, 2 * shape.inner)
        gate, up = b.op(ops.split, both, axis=2, sizes=(shape.inner, shape.inner)).results
        inner = b(ops.glu, gate, up, kind=shape.activation)
    else:
        inner = b(ops.activation, m.linear(f"{at}.fc", x, shape.inner), kind=shape.activation)
    return m.linear(f"{at}.down", inner, shape.hidden)


LLAMA = Shape()
MODELS: dict[str, Shape] = {
    "llama": LLAMA,
    "stories": replace(LLAMA, head_size=8),
    "odd-heads": replace(LLAMA, head_size=12),
    "tied": replace(LLAMA, tied=True),
    "unpacked": replace(LLAMA, packed=False),
    "qwen2": replace(LLAMA, biases=True, tied=True),
    "qwen3": replace(LLAMA, qk_norm=True, head_size=32),
    "gemma2": replace(
        LLAMA, window=5, window_every=2, softcap=5.0, logits_softcap=10.0, activation="gelu_tanh", tied=True
    ),
    "mistral": replace(LLAMA, window=4),
    "gpt-oss": replace(LLAMA, window=4, window_every=2, sinks=True),
    "gpt2": replace(
        LLAMA,
        norm="layer",
        learned_positions=True,
        biases=True,
        gated=False,
        activation="gelu_tanh",
        kv_heads=4,
        tied=True,
    ),
    "gpt-neox": replace(
        LLAMA, norm="layer", parallel=True, biases=True, gated=False, activation="gelu", kv_heads=4, rotary_pairs=4
    ),
    "gptj": replace(
        LLAMA, norm="layer", parallel=True, interleaved=True, gated=False, activation="gelu_tanh", kv_heads=4
    ),
    "alibi": replace(LLAMA, bias_on_scores=True, kv_heads=4, rotary_pairs=None),
    "chunked": replace(LLAMA, mask="chunked", window=4),
    "prefix": replace(LLAMA, mask="prefix", window=2),
    "odd-sinks": replace(LLAMA, head_size=12, sinks=True),
    "mixed-heads": replace(LLAMA, head_sizes=(16, 12), window=3, window_every=2),
    "relu": replace(LLAMA, gated=False, activation="relu", kv_heads=1),
}
