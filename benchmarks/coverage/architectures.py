"""The architectures that are measured unless others are named: classes of the transformers library."""

from __future__ import annotations

CAUSAL = (
    "LlamaForCausalLM",
    "MistralForCausalLM",
    "Qwen2ForCausalLM",
    "Qwen3ForCausalLM",
    "GemmaForCausalLM",
    "Gemma2ForCausalLM",
    "Gemma3ForCausalLM",
    "PhiForCausalLM",
    "Phi3ForCausalLM",
    "GPT2LMHeadModel",
    "GPTNeoForCausalLM",
    "GPTNeoXForCausalLM",
    "GPTJForCausalLM",
    "OPTForCausalLM",
    "FalconForCausalLM",
    "BloomForCausalLM",
    "MptForCausalLM",
    "Starcoder2ForCausalLM",
    "GPTBigCodeForCausalLM",
    "CodeGenForCausalLM",
    "OlmoForCausalLM",
    "Olmo2ForCausalLM",
    "Olmo3ForCausalLM",
    "GraniteForCausalLM",
    "CohereForCausalLM",
    "Cohere2ForCausalLM",
    "StableLmForCausalLM",
    "SmolLM3ForCausalLM",
    "GlmForCausalLM",
    "Glm4ForCausalLM",
    "PersimmonForCausalLM",
    "NemotronForCausalLM",
    "Exaone4ForCausalLM",
    "HeliumForCausalLM",
    "Ernie4_5ForCausalLM",
    "MixtralForCausalLM",
    "Qwen2MoeForCausalLM",
    "Qwen3MoeForCausalLM",
    "OlmoeForCausalLM",
    "PhimoeForCausalLM",
    "GraniteMoeForCausalLM",
    "DeepseekV2ForCausalLM",
    "DeepseekV3ForCausalLM",
    "GptOssForCausalLM",
    "MiniMaxForCausalLM",
    "Llama4ForCausalLM",
    "MambaForCausalLM",
    "Mamba2ForCausalLM",
    "FalconMambaForCausalLM",
    "BambaForCausalLM",
    "JambaForCausalLM",
    "Zamba2ForCausalLM",
    "Lfm2ForCausalLM",
    "Qwen3NextForCausalLM",
    "RwkvForCausalLM",
    "RecurrentGemmaForCausalLM",
)

ENCODER_DECODERS = (
    "T5ForConditionalGeneration",
    "BartForConditionalGeneration",
    "WhisperForConditionalGeneration",
)

FUNCTIONS = (
    "BertForMaskedLM",
    "RobertaModel",
    "ModernBertModel",
    "ViTModel",
    "WhisperEncoder",
)


def is_causal(architecture: str) -> bool:
    """Whether a class continues a text by itself, by the name that the library gives such classes."""
    return architecture.endswith(("ForCausalLM", "LMHeadModel", "WithLMHead"))


def every_causal() -> tuple[str, ...]:
    """All `…ForCausalLM` classes of the installed library, except the one that only chooses among them."""
    import transformers

    return tuple(name for name in dir(transformers) if name.endswith("ForCausalLM") and not name.startswith("Auto"))
