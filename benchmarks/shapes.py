"""The model shapes that are measured: sizes of published models, without their weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod


@dataclass(frozen=True)
class TensorShape:
    """One tensor of a checkpoint: its Hugging Face name and shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of scalars."""
        return prod(self.shape)


@dataclass(frozen=True)
class ModelShape:
    """Sizes of a Llama- or Qwen2-like decoder; `rope_scaling` and `settings` go into config.json as they are."""

    name: str
    model_type: str
    architecture: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    vocabulary_size: int
    tied_embeddings: bool
    rope_theta: float
    norm_epsilon: float
    context_length: int
    bos_token_id: int
    eos_token_id: int
    query_key_value_bias: bool = False
    rope_scaling: dict[str, float | str] = field(default_factory=dict[str, float | str])
    settings: dict[str, object] = field(default_factory=dict[str, object])

    def tensors(self) -> Iterator[TensorShape]:
        """Every tensor of the checkpoint, in layer order; a tied lm_head is not stored."""
        hidden, query = self.hidden_size, self.heads * self.head_size
        key_value = self.key_value_heads * self.head_size
        yield TensorShape("model.embed_tokens.weight", (self.vocabulary_size, hidden))
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}"
            yield TensorShape(f"{prefix}.input_layernorm.weight", (hidden,))
            for projection, size in (("q_proj", query), ("k_proj", key_value), ("v_proj", key_value)):
                yield TensorShape(f"{prefix}.self_attn.{projection}.weight", (size, hidden))
                if self.query_key_value_bias:
                    yield TensorShape(f"{prefix}.self_attn.{projection}.bias", (size,))
            yield TensorShape(f"{prefix}.self_attn.o_proj.weight", (hidden, query))
            yield from self.further_attention_tensors(f"{prefix}.self_attn")
            yield TensorShape(f"{prefix}.post_attention_layernorm.weight", (hidden,))
            yield from self.feed_forward_tensors(f"{prefix}.mlp")
        yield TensorShape("model.norm.weight", (hidden,))
        if not self.tied_embeddings:
            yield TensorShape("lm_head.weight", (self.vocabulary_size, hidden))

    def further_attention_tensors(self, prefix: str) -> Iterator[TensorShape]:
        """Those of one layer's attention beside its projections: none."""
        yield from ()

    def feed_forward_tensors(self, prefix: str) -> Iterator[TensorShape]:
        """Those of one layer behind its attention."""
        for projection in ("gate_proj", "up_proj"):
            yield TensorShape(f"{prefix}.{projection}.weight", (self.intermediate_size, self.hidden_size))
        yield TensorShape(f"{prefix}.down_proj.weight", (self.hidden_size, self.intermediate_size))

    @property
    def parameters(self) -> int:
        """Number of stored scalars."""
        return sum(tensor.elements for tensor in self.tensors())

    @property
    def decode_weights(self) -> int:
        """Scalars read for one decoded token: all but an embedding table of which a single row is read.

        A tied table is read whole, as lm_head.
        """
        return self.parameters - (0 if self.tied_embeddings else self.vocabulary_size * self.hidden_size)

    def decode_bytes(self, matrix_bits: float) -> int:
        """Bytes of weights read for one decoded token: so many bits for each number of a matrix, 4 bytes for others."""
        others = sum(tensor.elements for tensor in self.tensors() if len(tensor.shape) == 1)
        return round((self.decode_weights - others) * matrix_bits / 8) + 4 * others

    @property
    def token_cache_bytes(self) -> int:
        """Bytes of float32 keys and values that one token leaves in the cache."""
        return 4 * 2 * self.layers * self.key_value_heads * self.head_size


@dataclass(frozen=True)
class MixtureShape(ModelShape):
    """Sizes of a mixture of experts, each of `intermediate_size`, of which a token goes to `chosen`.

    `settings` name both numbers as the config.json of `model_type` does.
    """

    experts: int = 1
    chosen: int = 1

    def further_attention_tensors(self, prefix: str) -> Iterator[TensorShape]:
        """Of Qwen3-MoE norms of queries and keys; of gpt-oss sinks and another bias."""
        if self.model_type == "gpt_oss":
            yield TensorShape(f"{prefix}.o_proj.bias", (self.hidden_size,))
            yield TensorShape(f"{prefix}.sinks", (self.heads,))
        elif self.model_type == "qwen3_moe":
            yield TensorShape(f"{prefix}.q_norm.weight", (self.head_size,))
            yield TensorShape(f"{prefix}.k_norm.weight", (self.head_size,))

    def feed_forward_tensors(self, prefix: str) -> Iterator[TensorShape]:
        """The router, and every expert."""
        hidden, inner, experts = self.hidden_size, self.intermediate_size, self.experts
        if self.model_type != "gpt_oss":
            yield TensorShape(f"{prefix}.gate.weight", (experts, hidden))
            for expert in range(experts):
                yield from super().feed_forward_tensors(f"{prefix}.experts.{expert}")
            return
        yield TensorShape(f"{prefix}.router.weight", (experts, hidden))
        yield TensorShape(f"{prefix}.router.bias", (experts,))
        yield TensorShape(f"{prefix}.experts.gate_up_proj", (experts, hidden, 2 * inner))
        yield TensorShape(f"{prefix}.experts.gate_up_proj_bias", (experts, 2 * inner))
        yield TensorShape(f"{prefix}.experts.down_proj", (experts, inner, hidden))
        yield TensorShape(f"{prefix}.experts.down_proj_bias", (experts, hidden))

    @property
    def decode_weights(self) -> int:
        """As of one row, whose experts alone are read."""
        stored = sum(tensor.elements for tensor in self.tensors() if ".experts." in tensor.name)
        return super().decode_weights - stored // self.experts * (self.experts - self.chosen)


QWEN_MOE_LIKE = MixtureShape(
    name="qwen-moe-like",
    model_type="qwen3_moe",
    architecture="Qwen3MoeForCausalLM",
    hidden_size=768,
    intermediate_size=384,
    layers=6,
    heads=12,
    key_value_heads=4,
    head_size=64,
    vocabulary_size=32000,
    tied_embeddings=True,
    rope_theta=1_000_000.0,
    norm_epsilon=1e-6,
    context_length=4096,
    bos_token_id=1,
    eos_token_id=2,
    settings={
        "num_experts": 32,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 384,
        "norm_topk_prob": True,
        "decoder_sparse_step": 1,
        "mlp_only_layers": [],
    },
    experts=32,
    chosen=4,
)
"""A quarter of the experts, and an eighth of their size, that Qwen3-30B-A3B has: 0.8 GB in float32."""

GPT_OSS_LIKE = MixtureShape(
    name="gpt-oss-like",
    model_type="gpt_oss",
    architecture="GptOssForCausalLM",
    hidden_size=640,
    intermediate_size=640,
    layers=4,
    heads=10,
    key_value_heads=2,
    head_size=64,
    vocabulary_size=32000,
    tied_embeddings=False,
    rope_theta=150_000.0,
    norm_epsilon=1e-5,
    context_length=4096,
    bos_token_id=1,
    eos_token_id=2,
    query_key_value_bias=True,
    settings={
        "num_local_experts": 32,
        "num_experts_per_tok": 4,
        "sliding_window": 128,
        "attention_bias": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 150_000.0},
    },
    experts=32,
    chosen=4,
)
"""The experts of gpt-oss-20b at two ninths of its widths: 0.8 GB in float32. Rotary frequencies are not scaled."""

SHAPES: dict[str, ModelShape] = {
    shape.name: shape
    for shape in (
        ModelShape(
            name="SmolLM2-135M",
            model_type="llama",
            architecture="LlamaForCausalLM",
            hidden_size=576,
            intermediate_size=1536,
            layers=30,
            heads=9,
            key_value_heads=3,
            head_size=64,
            vocabulary_size=49152,
            tied_embeddings=True,
            rope_theta=100_000.0,
            norm_epsilon=1e-5,
            context_length=8192,
            bos_token_id=0,
            eos_token_id=0,
        ),
        ModelShape(
            name="Qwen2.5-0.5B",
            model_type="qwen2",
            architecture="Qwen2ForCausalLM",
            hidden_size=896,
            intermediate_size=4864,
            layers=24,
            heads=14,
            key_value_heads=2,
            head_size=64,
            vocabulary_size=151936,
            tied_embeddings=True,
            rope_theta=1_000_000.0,
            norm_epsilon=1e-6,
            context_length=32768,
            bos_token_id=151643,
            eos_token_id=151643,
            query_key_value_bias=True,
        ),
        ModelShape(
            name="Llama-3.2-1B",
            model_type="llama",
            architecture="LlamaForCausalLM",
            hidden_size=2048,
            intermediate_size=8192,
            layers=16,
            heads=32,
            key_value_heads=8,
            head_size=64,
            vocabulary_size=128256,
            tied_embeddings=True,
            rope_theta=500_000.0,
            norm_epsilon=1e-5,
            context_length=131072,
            bos_token_id=128000,
            eos_token_id=128001,
            rope_scaling={
                "rope_type": "llama3",
                "factor": 32.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 8192,
            },
        ),
        ModelShape(
            name="Llama-3-8B",
            model_type="llama",
            architecture="LlamaForCausalLM",
            hidden_size=4096,
            intermediate_size=14336,
            layers=32,
            heads=32,
            key_value_heads=8,
            head_size=128,
            vocabulary_size=128256,
            tied_embeddings=False,
            rope_theta=500_000.0,
            norm_epsilon=1e-5,
            context_length=8192,
            bos_token_id=128000,
            eos_token_id=128001,
        ),
        ModelShape(
            name="Llama-2-7B",
            model_type="llama",
            architecture="LlamaForCausalLM",
            hidden_size=4096,
            intermediate_size=11008,
            layers=32,
            heads=32,
            key_value_heads=32,
            head_size=128,
            vocabulary_size=32000,
            tied_embeddings=False,
            rope_theta=10_000.0,
            norm_epsilon=1e-5,
            context_length=4096,
            bos_token_id=1,
            eos_token_id=2,
        ),
        QWEN_MOE_LIKE,
        GPT_OSS_LIKE,
    )
}
