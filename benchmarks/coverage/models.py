"""Tiny random models whose attention looks at some tokens more than at others, and the same in float64."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from benchmarks.coverage.shrinking import VOCABULARY, small_configuration

GAINS = (3.0, 2.0, 5.0, 1.0, 8.0)
"""Factors for matrices, in the order in which they are tried until attention is neither uniform nor saturated."""
VECTOR_NOISE = 0.1
UNIFORM, SATURATED = 0.9, 0.02
PROBED_TOKENS = 24
FIRST_TOKEN, LAST_TOKEN = 3, 250
"""Token ids to test with: none of the special ones."""

_SOFTMAX = {torch.softmax, nn.functional.softmax, Tensor.softmax}


class ModelError(Exception):
    """The harness cannot make a model that would show a mistake."""


@dataclass(frozen=True)
class MadeModel:
    """A model in evaluation mode, and how spread its attention is: 0 on one token, 1 on all alike, None without any."""

    module: nn.Module
    gain: float
    spread: float | None


def library() -> Any:
    import transformers

    transformers.logging.set_verbosity_error()
    return transformers


def model_class(architecture: str) -> Any:
    """The class, or a part of a model that the library does not export by itself, such as Whisper's encoder."""
    found = getattr(library(), architecture, None)
    if found is None and architecture == "WhisperEncoder":
        from transformers.models.whisper.modeling_whisper import WhisperEncoder as found
    if found is None:
        raise ModelError(f"transformers {library().__version__} has no class {architecture}")
    return found


def random_model(architecture: str, seed: int, gain: float, attention: str | None = None) -> nn.Module:
    """A model of a small configuration, in evaluation mode, its weights seeded; matrices are scaled by `gain`.

    A matrix that is not noise around zero (decay rates, say) has a meaning that scaling would destroy: it is treated
    as a vector, which gets some noise.
    """
    chosen = model_class(architecture)
    cast("Any", torch).manual_seed(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        configuration = small_configuration(chosen.config_class, architecture)
        configuration.use_cache = False
        if architecture.endswith("ForCausalLM") and getattr(configuration, "is_decoder", None) is False:
            configuration.is_decoder = True  # an encoder looks ahead unless it is told to generate
        if attention is not None:
            configuration._attn_implementation = attention
        model = cast("nn.Module", chosen(configuration))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1 and parameter.mean().abs() < parameter.std():
                parameter.mul_(gain)
            else:
                parameter.add_(torch.randn_like(parameter) * VECTOR_NOISE)
    return model.eval()


def causal_model(architecture: str, seed: int) -> MadeModel:
    """A language model with the first gain that is fit to test with; `ModelError` if none is."""
    problem = ""
    for gain in GAINS:
        # In eager attention the weights are values that can be looked at.
        with torch.no_grad():
            spread, problem = probe(random_model(architecture, seed, gain, attention="eager"))
        if not problem:
            return MadeModel(random_model(architecture, seed, gain), gain, spread)
    raise ModelError(problem)


def probe(model: nn.Module) -> tuple[float | None, str]:
    """How spread attention is, and what makes the model unfit to test with ("" if nothing does)."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(FIRST_TOKEN, LAST_TOKEN, (1, PROBED_TOKENS), generator=generator)
    other = ids.clone()
    other[0, -4] = (ids[0, -4] + 7) % (VOCABULARY - 10) + FIRST_TOKEN
    watch = _SoftmaxWatch(PROBED_TOKENS)
    with watch:
        logits = call(model, ids)
    scale = float(logits.std())
    if not bool(torch.isfinite(logits).all()) or scale > 1e4:
        return None, "its logits overflow"
    if scale < 1e-4 or float((logits[0, 1:] - logits[0, :-1]).abs().amax(-1).min()) < 0.01 * scale:
        return None, "its logits do not differ between tokens"
    if float((call(model, other)[0, -1] - logits[0, -1]).abs().max()) < 1e-4 * scale:
        return None, "its logits do not depend on earlier tokens"
    spread = sum(watch.spreads) / len(watch.spreads) if watch.spreads else None
    if spread is not None and spread > UNIFORM:
        return spread, f"its attention is uniform ({spread:.2f})"
    if spread is not None and spread < SATURATED:
        return spread, f"its attention is saturated ({spread:.3f})"
    return spread, ""


def call(model: nn.Module, ids: Tensor) -> Tensor:
    """Logits [B, S, vocabulary] of token ids [B, S], in eager mode and without a cache."""
    return cast("Any", model)(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits


class _SoftmaxWatch(TorchFunctionMode):
    """Keeps how spread each attention's weights are: (perplexity - 1) / (visible tokens - 1), averaged over rows."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.spreads: list[float] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _SOFTMAX and result.dim() > 2 and result.shape[-2] == self.tokens <= result.shape[-1]:
            weights = result[..., self.tokens // 2 :, :].double()
            visible = (weights > 0).sum(-1)
            perplexity = torch.exp(-torch.xlogy(weights, weights).sum(-1))
            spread = ((perplexity - 1) / (visible - 1))[visible > 1]
            if spread.numel():
                self.spreads.append(float(spread.mean()))
        return result
