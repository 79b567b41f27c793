"""Tiny random models that do not generate, and inputs for them: text, image and speech encoders, encoder-decoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from tests.tensors import manual_seed

TEXT: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "vocab_size": 99,
    "pad_token_id": 0,
}
IMAGE: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}
RELATIVE = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}
SPEECH: dict[str, Any] = {
    "num_mel_bins": 8,
    "encoder_layers": 1,
    "encoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_layers": 1,
    "decoder_attention_heads": 4,
    "decoder_ffn_dim": 64,
    "d_model": 32,
    "vocab_size": 99,
    "max_source_positions": 20,
    "max_target_positions": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
T5: dict[str, Any] = {
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
    "vocab_size": 99,
    "decoder_start_token_id": 0,
}
WAVES: dict[str, Any] = {
    **TEXT,
    "conv_dim": (16, 16),
    "conv_stride": (5, 2),
    "conv_kernel": (10, 3),
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "num_feat_extract_layers": 2,
}
TWO_LAYERS = {**TEXT, "num_hidden_layers": 2}
"""Of one whose layers share something, or as all models have: the layers of the others are alike."""
MODERN = {**TEXT, "num_hidden_layers": 2, "local_attention": 8, "global_attn_every_n_layers": 2}

Inputs = dict[str, Tensor]


def generator(*numbers: int) -> torch.Generator:
    return torch.Generator().manual_seed(sum(n * 100**i for i, n in enumerate(numbers)))


def text(batch: int, length: int) -> Inputs:
    """Token ids with a mask: row 0 is whole, row 1 padded on the right, row 2 on the left, and so on."""
    ids = torch.randint(3, 99, (batch, length), generator=generator(batch, length))
    mask = torch.ones_like(ids)
    for row in range(1, batch):
        padding = min(row + 2, length - 1)
        mask[row, slice(length - padding, None) if row % 2 else slice(padding)] = 0
    return {"input_ids": torch.where(mask.bool(), ids, 0), "attention_mask": mask}


def image(batch: int, _: int) -> Inputs:
    return {"pixel_values": torch.randn(batch, 3, 32, 32, generator=generator(batch))}


def frames(batch: int, _: int) -> Inputs:
    return {"input_features": torch.randn(batch, 8, 40, generator=generator(batch))}


def wave(batch: int, _: int) -> Inputs:
    return {"input_values": torch.randn(batch, 400, generator=generator(batch))}


def with_decoder(inputs: Callable[[int, int], Inputs]) -> Callable[[int, int], Inputs]:
    def made(batch: int, length: int) -> Inputs:
        own = max(length // 2, 1)
        return {
            **inputs(batch, length),
            "decoder_input_ids": torch.randint(3, 99, (batch, own), generator=generator(own)),
        }

    return made


@dataclass(frozen=True)
class Encoder:
    """A class of transformers, options of its configuration, and how to make its inputs."""

    model: str
    configuration: str
    options: dict[str, Any]
    inputs: Callable[[int, int], Inputs]


ENCODERS: dict[str, Encoder] = {
    "bert": Encoder("BertForMaskedLM", "BertConfig", TWO_LAYERS, text),
    "bert-base": Encoder("BertModel", "BertConfig", TEXT, text),
    "roberta": Encoder("RobertaModel", "RobertaConfig", {**TEXT, "max_position_embeddings": 64}, text),
    "modernbert": Encoder("ModernBertForMaskedLM", "ModernBertConfig", MODERN, text),
    "distilbert": Encoder(
        "DistilBertModel",
        "DistilBertConfig",
        {"dim": 32, "hidden_dim": 64, "n_layers": 1, "n_heads": 4, "vocab_size": 99},
        text,
    ),
    "electra": Encoder("ElectraModel", "ElectraConfig", {**TEXT, "embedding_size": 16}, text),
    "deberta-v2": Encoder("DebertaV2Model", "DebertaV2Config", {**TWO_LAYERS, **RELATIVE, "position_buckets": 8}, text),
    "t5-encoder": Encoder("T5EncoderModel", "T5Config", T5, text),
    "clip-text": Encoder(
        "CLIPTextModel", "CLIPTextConfig", {**TEXT, "max_position_embeddings": 64, "eos_token_id": 98}, text
    ),
    "vit": Encoder("ViTModel", "ViTConfig", IMAGE, image),
    "dinov2": Encoder("Dinov2Model", "Dinov2Config", {**IMAGE, "mlp_ratio": 2}, image),
    "clip-vision": Encoder("CLIPVisionModel", "CLIPVisionConfig", IMAGE, image),
    "siglip-vision": Encoder("SiglipVisionModel", "SiglipVisionConfig", IMAGE, image),
    "wav2vec2": Encoder("Wav2Vec2Model", "Wav2Vec2Config", WAVES, wave),
    "whisper-encoder": Encoder("WhisperModel.encoder", "WhisperConfig", SPEECH, frames),
    "whisper": Encoder("WhisperForConditionalGeneration", "WhisperConfig", SPEECH, with_decoder(frames)),
    "t5": Encoder("T5ForConditionalGeneration", "T5Config", T5, with_decoder(text)),
}


def make(name: str, attention: str = "sdpa") -> torch.nn.Module:
    """A seeded random model in evaluation mode; `attention` is transformers' implementation of it."""
    import transformers

    case = ENCODERS[name]
    whole, _, part = case.model.partition(".")
    options = {k: v for k, v in case.options.items() if name != "dinov2" or k != "intermediate_size"}
    configuration = getattr(transformers, case.configuration)(**options)
    manual_seed(0)
    model = getattr(transformers, whole)._from_config(configuration, attn_implementation=attention).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                # T5 draws its weights large, and has no scale in its attention
                parameter.mul_(1 if name.startswith("t5") else 3)
            else:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return getattr(model, part) if part else model
