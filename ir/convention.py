"""The calling convention of programs: what graphs, their inputs, outputs and states, symbols and facts are called.

Frontend, passes and backends meet by these names alone. A program is captured as `forward`; what depends on a context
beside the tokens moves to `encode`; with a cache, `forward` becomes `prefill`, of which other phases are made. Operands
of ops have names of their own, which their declarations state; some are called as the input that they usually get.

`graphwright.runtime.artifact.convention` holds those that an artifact and its runtime meet by: neither package may
import the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from graphwright.ir.errors import UnsupportedError
from graphwright.ir.types import StateType

if TYPE_CHECKING:
    from graphwright.ir.graph import Graph
    from graphwright.ir.program import Program

# -- graphs, one for each phase

FORWARD: Final = "forward"
"""As captured: whole inputs to outputs, nothing is kept. The one graph of a plain function."""
ENCODE: Final = "encode"
"""A context (source tokens, audio features, an image) to what the tokens read of it; runs once a prompt."""
PREFILL: Final = "prefill"
"""S new tokens of each row, behind those in its cache, to logits and the states with the new tokens in them."""
DECODE: Final = "decode"
"""`prefill` for one new token of each of B rows."""
DECODE_ONE_ROW: Final = "decode_one_row"
"""`decode` for a batch of one row, whose logits are wanted once."""
DECODE_ROWS: Final = tuple((rows, f"decode_{rows}_rows") for rows in (2, 4, 8, 16))
"""`decode` for so many rows, whose logits are wanted once; a batch between two of them can run as the larger one."""
VERIFY: Final = "verify"
"""`prefill` for the few tokens of each row that speculation proposes, with the logits of all."""
STEPS: Final = (PREFILL, DECODE, DECODE_ONE_ROW, *(name for _, name in DECODE_ROWS), VERIFY)
"""The graphs that take new tokens over a cache: `prefill`, and what is made of it for sizes of its own."""

# -- symbols of dimensions

BATCH: Final = "B"
"""Rows."""
SEQUENCE: Final = "S"
"""Tokens of each row: all of them in `forward`, the new ones in other phases; in `encode` the context's."""
CAPACITY: Final = "C"
"""Places for tokens in a cache that grows with the context."""
POSITIONS: Final = "N"
"""Tokens of each row whose logits are wanted."""
SOURCE_SEQUENCE: Final = "T"
"""The length of a context where S is that of the tokens: everywhere but in `encode`."""
PAST_SEQUENCE: Final = "P"
"""Tokens in a cache that a step returns longer than it took it: only in exported graphs."""
TOTAL_SEQUENCE: Final = "T"
"""Tokens so far, past and new: only in exported graphs, which have no context beside the tokens."""

# -- inputs

INPUT_IDS: Final = "input_ids"
"""i64 [B, S]: token ids, the new ones where there is a cache, padded on the right."""
DECODER_INPUT_IDS: Final = "decoder_input_ids"
"""i64 [B, length]: the token ids of a captured model whose context is another input. `split-context` makes them
`input_ids`."""
ATTENTION_MASK: Final = "attention_mask"
"""i64 [B, length]: 1 for real tokens, 0 for padding. Captured as all ones; an exported graph takes it, [B, T]."""
PAST_LENGTH: Final = "past_length"
"""i64 [B]: how many tokens each row's cache holds, at least 0; the new ones go behind them."""
NEW_LENGTH: Final = "new_length"
"""i64 [B]: how many of the S new tokens of each row are real, at least 1; the rest is padding."""
LOGIT_POSITIONS: Final = "logit_positions"
"""i64 [B, N]: for which of the S new tokens logits are wanted, from 0 to S - 1."""
CONTEXT_LENGTH: Final = "context_length"
"""i64 [B]: how many of the T places of each row's context are real; the rest is padding on the right. An input of
`encode` and `prefill` where a context's length is free. Not the model's `CONTEXT_WINDOW`."""
CONTEXT: Final = "context."
"""Prefix: `context.N` are the outputs of `encode`, [B, …], and inputs of the graph over the tokens."""

SAMPLING: Final = "sampling"
"""f32 [B, 4]: by which temperature, top k, top p and min p a token is chosen; see `cuda.choose_tokens`."""
SAMPLING_KEY: Final = "sampling_key"
"""i64 [B, 2]: the key of each row's random numbers."""

DECODER_INPUTS: Final = (INPUT_IDS, PAST_LENGTH, NEW_LENGTH, LOGIT_POSITIONS)
"""What every phase with a cache takes beside its states, and what `encode` gives."""

# -- outputs and states

LOGITS: Final = "logits"
"""Floats [B, S, vocabulary], of the wanted tokens [B, N, vocabulary]: what a language model makes of its tokens."""
CHOSEN: Final = "chosen"
"""i64 [B, N]: the token chosen by each of the logits, as `SAMPLING` and `SAMPLING_KEY` say; -1 where they are not
finite. A decoder has it, and `LENGTH_AFTER`, where the target's memory is not the host's: logits need not leave it."""
LENGTH_AFTER: Final = "length_after"
"""i64 [B]: how many tokens each row's cache holds behind the step. It may be written over `past_length`."""
PAST: Final = "past."
"""Prefix: `past.N.key`, `past.N.value`, `past.N.latent` and `past.N.state` are the states that a graph takes, N
counting attentions and recurrences. A cache is [B, heads, C, size] (contiguous) or [B, heads, window - 1, size] (a
ring); a recurrent state is [B, …] of fixed size. See `graphwright.ir.types.StateType`."""
PAST_KEY_VALUES: Final = "past_key_values."
"""Prefix of what Hugging Face's tools call a cache that a step takes: only in exported graphs."""
PRESENT: Final = "present."
"""Prefix: `present.N.…` is the output that replaces `past.N.…`, of the same type."""

# -- facts of a program's metadata

CONTEXT_WINDOW: Final = "context_length"
"""An integer: the most tokens that a row of the language model may have. Not the input `CONTEXT_LENGTH`."""
VOCABULARY_SIZE: Final = "vocabulary_size"
"""An integer: how many token ids there are."""
ARCHITECTURE: Final = "architecture"
"""Text: the class of the module."""
PARAMETERS: Final = "parameters"
"""An integer: how many numbers the model has learned."""
BOS_TOKEN_IDS: Final = "bos_token_ids"
"""Integers: what a text may begin with."""
EOS_TOKEN_IDS: Final = "eos_token_ids"
"""Integers: what ends a text."""
PAD_TOKEN_ID: Final = "pad_token_id"
"""An integer: what rows are padded with."""
DECODER_START_TOKEN_ID: Final = "decoder_start_token_id"
"""An integer: what the tokens beside an encoded context begin with."""
LANGUAGE_MODEL_PROBLEM: Final = "language_model_problem"
"""Text: why what takes token ids is not plainly a language model; it is compiled as none."""


def is_decoder(program: Program) -> bool:
    """Whether a program generates token by token, over what it keeps of the tokens so far."""
    return PREFILL in program.graphs


def main_graph(program: Program) -> Graph | None:
    """The graph that answers for any number of tokens: `prefill`, before there is a cache `forward`."""
    return program.graphs.get(PREFILL if is_decoder(program) else FORWARD)


def step_graphs(program: Program) -> list[Graph]:
    """The graphs of a program with a cache that take new tokens: one of them is `prefill`."""
    return [graph for name, graph in program.graphs.items() if name in STEPS]


def fixed_sizes(graph: Graph, general: Graph) -> dict[str, int]:
    """The symbols in inputs of `general` that are numbers in the same inputs of `graph`, and these."""
    types = {value.name: value.type for value in graph.inputs}
    pairs = [
        pair
        for value in general.inputs
        if value.name in types
        for pair in zip(value.type.shape, types[value.name].shape, strict=False)
    ]
    found: dict[str, int] = {}
    for dim, size in pairs:
        symbol = str(dim)
        if size.constant is not None and dim.terms == (((symbol,), 1),):
            found[symbol] = size.constant
    return found


def step_graph(program: Program, sizes: Mapping[str, int]) -> Graph:
    """The graph that takes a step of these sizes (of B, S and N): of those that fit, the one made for most of them."""
    general = program.graphs[PREFILL]
    fitting: list[tuple[int, Graph]] = []
    for graph in step_graphs(program):
        fixed = fixed_sizes(graph, general)
        if graph.name == DECODE:
            fixed.pop(BATCH, None)  # it is to take any number of rows
        if all(sizes.get(symbol) == size for symbol, size in fixed.items()):
            fitting.append((len(fixed), graph))
    return max(fitting, key=lambda each: each[0])[1]


def context_window(program: Program) -> int | None:
    """The most tokens that a row may have; None where the program does not say."""
    return _positive(program, CONTEXT_WINDOW)


def vocabulary_size(program: Program) -> int | None:
    """How many token ids there are; None where the program does not say."""
    return _positive(program, VOCABULARY_SIZE)


def _positive(program: Program, fact: str) -> int | None:
    known = program.metadata.get(fact)
    return known if isinstance(known, int) and known > 0 else None


def is_past(name: str | None) -> bool:
    """Whether an input of this name is a state."""
    return name is not None and name.startswith(PAST)


def present_of(past: str) -> str:
    """The output that replaces a state: `present.0.key` of `past.0.key`."""
    return PRESENT + past.removeprefix(PAST)


def state_names(graph: Graph) -> dict[str, str]:
    """Of each state the name of its input and of its output: `past.0.key` and `present.0.key`."""
    names: dict[str, str] = {}
    for value in graph.inputs:
        if isinstance(value.type, StateType):
            if value.name is None or not is_past(value.name):
                raise UnsupportedError(
                    f"graph '{graph.name}': a state '{value.name}' that is not a cache named {PAST}…"
                )
            names[value.name] = present_of(value.name)
    return names
