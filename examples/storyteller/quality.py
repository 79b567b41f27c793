"""How good a language model of the stories is: its loss against the grammar's, and the share of sound stories."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from examples.storyteller.batches import batch_of
from examples.storyteller.grammar import Grammar


@dataclass(frozen=True)
class Verdict:
    """Losses on the same stories, in nats a token: the model's, and that of the grammar that told them.

    Both count `</s>`, which the grammar gives for nothing, and not `<s>`. The grammar's own loss is the floor that no
    model beats on average; comparing on the same stories leaves only the model's divergence from the grammar.
    """

    loss: float
    floor: float

    @property
    def excess(self) -> float:
        """How far the loss lies above the floor, as a share of the floor."""
        return self.loss / self.floor - 1


@torch.inference_mode()
def judge(model: PreTrainedModel, tokenizer: Tokenizer, grammar: Grammar, stories: Sequence[str]) -> Verdict:
    """Score a model on stories of a grammar, fifty at a time."""
    nats, tokens = 0.0, 0
    for start in range(0, len(stories), 50):
        batch = batch_of(stories[start : start + 50], tokenizer)
        logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
        targets = batch.labels[:, 1:]
        nats += torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), targets, reduction="sum").item()
        tokens += int(batch.attention_mask[:, 1:].sum())
    floor = -sum(grammar.log_probability(story) for story in stories)
    return Verdict(loss=nats / tokens, floor=floor / tokens)


@torch.inference_mode()
def tell(
    model: PreTrainedModel,
    tokenizer: Tokenizer,
    count: int,
    *,
    prompt: str = "",
    temperature: float | None,
    seed: int = 0,
) -> list[str]:
    """Stories told by a model from a prompt; greedily where the temperature is None."""
    torch.default_generator.manual_seed(seed)
    ids = torch.tensor([tokenizer.encode(prompt).ids] * count)
    how = {"do_sample": False, "temperature": None} if temperature is None else {"temperature": temperature}
    told = cast(Any, model).generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=250, **how)
    return tokenizer.decode_batch(told.tolist())


def share_tellable(grammar: Grammar, stories: Sequence[str]) -> float:
    """The share of stories that the grammar could have told, word for word."""
    return sum(grammar.log_probability(story) > -math.inf for story in stories) / len(stories)
