"""What is measured on a GPU, in the order in which it matters: a run that is stopped has measured what is in front."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from benchmarks.shapes import SHAPES, MixtureShape, ModelShape

TINY = ModelShape(
    name="Tiny",
    model_type="llama",
    architecture="LlamaForCausalLM",
    hidden_size=96,
    intermediate_size=176,
    layers=2,
    heads=6,
    key_value_heads=2,
    head_size=16,
    vocabulary_size=300,
    tied_embeddings=False,
    rope_theta=10_000.0,
    norm_epsilon=1e-5,
    context_length=256,
    bos_token_id=1,
    eos_token_id=2,
)
"""Sizes at which tiles have ragged edges. Its answers are known in float64."""


TINY_MIXTURE = MixtureShape(
    name="TinyMixture",
    model_type="olmoe",
    architecture="OlmoeForCausalLM",
    hidden_size=96,
    intermediate_size=40,
    layers=1,
    heads=6,
    key_value_heads=2,
    head_size=16,
    vocabulary_size=300,
    tied_embeddings=False,
    rope_theta=10_000.0,
    norm_epsilon=1e-5,
    context_length=256,
    bos_token_id=1,
    eos_token_id=2,
    settings={"num_experts": 5, "num_experts_per_tok": 2},
    experts=5,
    chosen=2,
)
MIXTURE = MixtureShape(
    name="OLMoE-1B-7B",
    model_type="olmoe",
    architecture="OlmoeForCausalLM",
    hidden_size=2048,
    intermediate_size=1024,
    layers=16,
    heads=16,
    key_value_heads=16,
    head_size=128,
    vocabulary_size=50304,
    tied_embeddings=False,
    rope_theta=10_000.0,
    norm_epsilon=1e-5,
    context_length=4096,
    bos_token_id=1,
    eos_token_id=50279,
    settings={"num_experts": 64, "num_experts_per_tok": 8},
    experts=64,
    chosen=8,
)
BUNDLED = {shape.name: shape for shape in (TINY, TINY_MIXTURE, *SHAPES.values(), MIXTURE)}
SMALLEST = (TINY.name, TINY_MIXTURE.name)
"""Those that the emulator runs."""
SYSTEMS = ("graphwright", "compiled", "eager")
"""Ours; `torch.compile(mode="max-autotune")` over a static cache; torch as it is."""
NEW_TOKENS = 128
PROMPT = 37
"""Tokens of `Tiny`: ragged, too."""


@dataclass(frozen=True)
class Build:
    """A model to compile: its shape, the type that it computes in, and a scheme of quantization."""

    shape: str
    dtype: Literal["bf16", "f16"] = "bf16"
    scheme: str | None = None

    @property
    def name(self) -> str:
        return "-".join((self.shape, self.dtype, *([self.scheme] if self.scheme else [])))


@dataclass(frozen=True)
class Row:
    """A measurement.

    - `kernels`: each launch of a prefill and of decode steps by itself against its op in float64
    - `exact`: logits of a prefill and of decode steps against those in float64
    - `memcheck`, `racecheck`: one step under compute-sanitizer
    - `decode`: seconds a token, `NEW_TOKENS` of them behind a prompt; `prefill`: seconds to the first token
    """

    kind: Literal["kernels", "exact", "memcheck", "racecheck", "decode", "prefill"]
    build: Build
    system: str = "graphwright"
    batch: int = 1
    prompt: int = 128

    @property
    def name(self) -> str:
        return f"{self.kind} {self.build.name} batch {self.batch} prompt {self.prompt} {self.system}"


def rows() -> Iterator[Row]:
    """All rows, the most important first."""
    tiny = [Build(TINY.name, "bf16"), *(Build(TINY.name, "f16", scheme) for scheme in (None, "w4a16-g32", "fp8"))]
    others = [Build(TINY.name, "f16", "kv8"), Build(TINY_MIXTURE.name, "f16")]
    yield from (Row("kernels", build, batch=3, prompt=PROMPT) for build in (*tiny, *others))
    yield from (Row("exact", build, prompt=PROMPT) for build in tiny)
    large, small = Build("Llama-3-8B"), Build("Llama-3.2-1B")
    packed, eights = (Build("Llama-3-8B", scheme=scheme) for scheme in ("w4a16-g128", "fp8"))
    yield from (Row("decode", large, system) for system in SYSTEMS)
    yield from (Row("memcheck", tiny[0], prompt=PROMPT), Row("racecheck", tiny[0], prompt=PROMPT))
    yield from (Row("decode", small, system) for system in SYSTEMS)
    yield from (Row("decode", build) for build in (packed, eights))
    yield from (Row("prefill", build, prompt=2048) for build in (large, packed, eights))
    yield from (Row("prefill", large, system, prompt=2048) for system in SYSTEMS[1:])
    yield from (Row(kind, Build(MIXTURE.name)) for kind in _BOTH)
    older = (Build("Llama-2-7B", "f16"), Build("Llama-2-7B", "f16", "w4a16-g128"))
    for batch in (1, 4, 8, 16):
        for prompt in (128, 512, 1024, 2048):
            # The layout of the survey's table 4: W4A16 over 16 bits, in prefill, decode and end to end.
            yield from (Row(kind, build, "graphwright", batch, prompt) for build in older for kind in _BOTH)
        yield from (Row("decode", build, "graphwright", batch, 1024) for build in (large, packed, eights))


_BOTH: tuple[Literal["prefill", "decode"], ...] = ("prefill", "decode")
