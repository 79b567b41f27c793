"""Encoder-decoder models as generators: the contexts of the rows, and eager's calls beside them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from benchmarks.coverage.models import FIRST_TOKEN, LAST_TOKEN
from benchmarks.coverage.reference import Call

CONTEXT_LENGTHS = (13, 21, 6)
"""Tokens of each row's context, unlike what is traced."""


def is_encoder_decoder(model: nn.Module) -> bool:
    """Whether a model generates tokens beside a context."""
    it: Any = model
    return bool(it.config.is_encoder_decoder and it.can_generate())


def contexts(model: nn.Module) -> list[Tensor]:
    """A context for each row, without a batch axis: token ids, or the features of some audio."""
    config: Any = model.config
    generator = torch.Generator().manual_seed(4)
    if cast("Any", model).main_input_name == "input_ids":
        return [torch.randint(FIRST_TOKEN, LAST_TOKEN, (n,), generator=generator) for n in CONTEXT_LENGTHS]
    shape = (config.num_mel_bins, 2 * config.max_source_positions)
    return [torch.randn(shape, generator=generator) for _ in CONTEXT_LENGTHS]


def calls(given: Sequence[Tensor]) -> list[Call]:
    """Eager's call of each row beside its context."""
    return [_beside(context) for context in given]


def _beside(context: Tensor) -> Call:
    def call(model: nn.Module, ids: Tensor) -> Tensor:
        it: Any = model
        row = (context.to(it.dtype) if context.is_floating_point() else context)[None]
        return it(**{it.main_input_name: row}, decoder_input_ids=ids, use_cache=False).logits

    return call
