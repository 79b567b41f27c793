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
            yield TensorShape(f"{prefix}.post_attention_layernorm.weight", (hidden,))
            for projection in ("gate_proj", "up_proj"):
                yield TensorShape(f"{prefix}.mlp.{projection}.weight", (self.intermediate_size, hidden))
            yield TensorShape(f"{prefix}.mlp.down_proj.weight", (hidden, self.intermediate_size))
        yield TensorShape("model.norm.weight", (hidden,))
        if not self.tied_embeddings:
            yield TensorShape("lm_head.weight", (self.vocabulary_size, hidden))

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
    )
}
