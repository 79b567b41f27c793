"""What a call asks for, checked before any work: rows, the tokens that each is fed first, and their contexts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphwright.runtime.cache import KVCache
from graphwright.runtime.decoder import Decoder
from graphwright.runtime.encoder import Array, context_array, encode
from graphwright.runtime.errors import GenerationError
from graphwright.runtime.generation import Row
from graphwright.runtime.loaded_model import LoadedModel
from graphwright.runtime.options import GenerationArguments
from graphwright.runtime.prompts import Prompt, check_ids, split_prompts
from graphwright.runtime.session import Session

Context = Prompt | Array
"""What an encoder reads: a text, token ids [T], or an array of the shape that the manifest names."""


@dataclass(frozen=True)
class Tokens:
    """The tokens that each row begins with, and the contexts beside them if the model has an encoder.

    `as_text` says of each row whether its result is wanted as text, `single` whether there is one row and no batch.
    """

    rows: list[list[int]]
    contexts: list[Array] | None
    as_text: list[bool]
    single: bool


@dataclass(frozen=True)
class Request:
    """Rows to continue, the tokens that they begin with, and the capacity that their cache needs."""

    rows: list[Row]
    tokens: Tokens
    capacity: int

    def decoder(self, session: Session) -> Decoder:
        """With a fresh cache; runs the encoder if there is one."""
        return start(session, self.tokens, self.capacity)


def start(session: Session, tokens: Tokens, capacity: int) -> Decoder:
    """A decoder with an empty cache for these rows; the contexts are encoded."""
    context = None if tokens.contexts is None else encode(session, tokens.contexts)
    return Decoder(KVCache(session, len(tokens.rows), capacity), context)


def read_request(
    loaded: LoadedModel, prompts: Any, context: Any, max_context: int | None, arguments: GenerationArguments
) -> Request:
    """Raises GenerationError, and ContextError for a row that has no room to be continued."""
    options = loaded.options(arguments)
    room = loaded.context(max_context)
    tokens = read_tokens(loaded, prompts, context)
    names = _names("prompt", len(tokens.rows))
    rows = [
        loaded.row(row, options, room, name=name, index=index)
        for index, (row, name) in enumerate(zip(tokens.rows, names, strict=True))
    ]
    longest = max(len(row) for row in tokens.rows)
    return Request(rows, tokens, min(room, longest + (options.max_new_tokens or room)))


def read_tokens(loaded: LoadedModel, prompts: Any, context: Any) -> Tokens:
    """Prompts and contexts in all the forms that they may be given in. Raises GenerationError.

    To a model with an encoder, prompts without a context are the context, and tokens without a prompt begin with the
    model's start token.
    """
    encoder = loaded.manifest.program.encoder
    if encoder is None:
        if context is not None:
            raise GenerationError("the model has no encoder, so it takes no context")
        if prompts is None:
            raise GenerationError("there is no prompt")
        batch, single = split_prompts(prompts)
        rows = [loaded.encode(p, name) for p, name in zip(batch, _names("prompt", len(batch)), strict=True)]
        return Tokens(rows, None, [isinstance(p, str) for p in batch], single)
    if context is None and not encoder.takes_tokens:
        raise GenerationError(f"the model reads {encoder.context[0]}, an array: give it as context")
    if context is None:
        prompts, context = None, prompts
    if context is None:
        raise GenerationError("there is no prompt")
    contexts, as_text, single = _contexts(loaded, context)
    if prompts is None:
        return Tokens([loaded.start_tokens()] * len(contexts), contexts, as_text, single)
    batch, alone = split_prompts(prompts)
    batch = batch * len(contexts) if alone else batch
    if len(batch) != len(contexts):
        raise GenerationError(f"there are {len(contexts)} contexts for {len(batch)} prompts")
    rows = [_beside(loaded, p, name) for p, name in zip(batch, _names("prompt", len(batch)), strict=True)]
    return Tokens(rows, contexts, [isinstance(p, str) for p in batch], single and alone)


def _contexts(loaded: LoadedModel, context: Any) -> tuple[list[Array], list[bool], bool]:
    """Each row's context, whether what follows from it is text by default, and whether it is one without a batch."""
    program = loaded.manifest.program
    assert program.encoder is not None, "the manifest has an encoder"
    if not program.encoder.takes_tokens:
        rows, single = context_array(program, context)
        return rows, [loaded.tokenizer is not None] * len(rows), single
    batch, single = split_prompts(context)
    found: list[Array] = []
    for prompt, name in zip(batch, _names("context", len(batch)), strict=True):
        ids = loaded.encode_more(prompt, name, special_tokens=True)
        if not ids:
            raise GenerationError(f"{name} is empty")
        found.append(np.array(ids, dtype=np.int64))
    return found, [isinstance(prompt, str) for prompt in batch], single


def _beside(loaded: LoadedModel, prompt: Prompt, name: str) -> list[int]:
    """The tokens that a prompt beside a context stands for: a text follows the start token, token ids stand alone."""
    if isinstance(prompt, str):
        return [*loaded.start_tokens(), *loaded.encode_more(prompt, name, special_tokens=False)]
    return check_ids(prompt, loaded.session.vocabulary_size, name) or loaded.start_tokens()


def _names(what: str, count: int) -> Sequence[str]:
    return [f"the {what}"] if count == 1 else [f"{what} {index}" for index in range(count)]
