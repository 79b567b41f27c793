"""Names by which an artifact's program and the runtime meet; dtypes and shapes are those of the manifest.

This file is the runtime's own copy of what it needs of `graphwright.ir.convention`, where the names are explained:
neither package may import the other.
"""

from typing import Final

ENCODE: Final = "encode"
"""The function of an encoder's library."""

INPUT_IDS: Final = "input_ids"
PAST_LENGTH: Final = "past_length"
NEW_LENGTH: Final = "new_length"
LOGIT_POSITIONS: Final = "logit_positions"
CONTEXT_LENGTH: Final = "context_length"
"""The input int64 [B] of an encoder, and maybe its decoder: how much of each row's context, padded behind, is real."""

DECODER_INPUTS: Final = (INPUT_IDS, PAST_LENGTH, NEW_LENGTH, LOGIT_POSITIONS)

LOGITS: Final = "logits"
CHOSEN: Final = "chosen"
LENGTH_AFTER: Final = "length_after"
SAMPLING: Final = "sampling"
SAMPLING_KEY: Final = "sampling_key"
