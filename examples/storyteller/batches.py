"""Stories as padded batches of token ids."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from tokenizers import Tokenizer
from torch import Tensor

from examples.storyteller.tokenizer import EOS

IGNORED = -100
"""The label that the loss passes over."""


class Batch(NamedTuple):
    """Token ids, attention mask and labels, each int64[stories, tokens]; labels are `IGNORED` at padding."""

    input_ids: Tensor
    attention_mask: Tensor
    labels: Tensor


def batch_of(stories: Sequence[str], tokenizer: Tokenizer) -> Batch:
    """`<s> story </s>` for each story, padded on the right."""
    end = tokenizer.token_to_id(EOS)
    assert end is not None, "the storyteller's tokenizers end stories"
    rows = [torch.tensor([*encoding.ids, end]) for encoding in tokenizer.encode_batch(list(stories))]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=end)
    lengths = torch.tensor([len(row) for row in rows])
    mask = (torch.arange(padded.shape[1]) < lengths[:, None]).long()
    return Batch(padded, mask, torch.where(mask.bool(), padded, IGNORED))
