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
from graphwright.runtime.options import GenerationArguments, GenerationOptions
from graphwright.runtime.prompts import Prompt, check_ids, split_prompts
from graphwright.runtime.session import Session
from graphwright.runtime.settings import Beginning

Context = Prompt | Array
"""What an encoder reads: a text, token ids [T], or an array of the shape that the manifest names."""


@dataclass(frozen=True)
class Tokens:
    """The tokens that each row begins with, and the contexts beside them if the model has an encoder.

    `as_text` says of each row whether its result is wanted as text, `single` whether there is one row and no batch.
    """

    rows: list[Beginning]
    contexts: list[Array] | None
    as_text: list[bool]
    single: bool


@dataclass(frozen=True)
class Started:
    """Rows to continue, the tokens to feed each first, and the decoder that does it."""

    decoder: Decoder
    rows: list[Row]
    tokens: list[list[int]]


@dataclass(frozen=True)
class Request:
    """What was asked for, checked: the model, its options, what rows begin with, and how many tokens they may have."""

    loaded: LoadedModel
    options: GenerationOptions
    tokens: Tokens
    room: int

    def rows(self, tokens: list[list[int]]) -> list[Row]:
        """Rows that continue `tokens`. Raises ContextError for one that has no room to be continued."""
        contexts = self.tokens.contexts or [None] * len(tokens)
        return [
            self.loaded.row(row, self.options, self.room, name=name, index=index, context=_token_ids(context))
            for index, (row, context, name) in enumerate(
                zip(tokens, contexts, _names("prompt", len(tokens)), strict=True)
            )
        ]

    def start(self) -> Started:
        """With a fresh cache; runs the encoder if there is one, and asks the model for languages that it is to tell."""
        tokens = [list(row.tokens) for row in self.tokens.rows]
        rows = self.rows(tokens)
        decoder = start(self.loaded.session, self.tokens, max(len(row.prompt) + row.limit for row in rows))
        if any(row.languages for row in self.tokens.rows):
            tokens = _with_languages(decoder, self.tokens.rows)
            rows = self.rows(tokens)
        return Started(decoder, rows, tokens)


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
    if arguments.get("language") is not None or arguments.get("task") is not None:
        _refuse_token_ids(prompts)
    request = Request(loaded, options, read_tokens(loaded, prompts, context, options), room)
    request.rows([list(row.tokens) for row in request.tokens.rows])
    return request


def _refuse_token_ids(prompts: Any) -> None:
    if prompts is not None and any(not isinstance(prompt, str) and len(prompt) for prompt in split_prompts(prompts)[0]):
        raise GenerationError(
            "the prompt is token ids, which say language and task themselves: leave out the one or the other"
        )


def _with_languages(decoder: Decoder, rows: list[Beginning]) -> list[list[int]]:
    """The tokens of rows, with the language that the model tells where one is to be told; the cache stays empty."""
    first = np.array([row.tokens[:1] for row in rows], dtype=np.int64)
    one = np.ones(len(rows), dtype=np.int64)
    logits = decoder.step(first, one, one[:, None] - 1)[:, 0]
    decoder.cache.advance(one - 1)
    tokens = [list(row.tokens) for row in rows]
    for index, row in enumerate(rows):
        if row.languages:
            choices = np.array(sorted(row.languages), dtype=np.int64)
            tokens[index][1] = int(choices[logits[index, choices].argmax()])
    return tokens


def _token_ids(context: Array | None) -> list[int] | None:
    """Those of a context that is tokens."""
    return None if context is None or context.ndim != 1 else context.tolist()


def read_tokens(loaded: LoadedModel, prompts: Any, context: Any, options: GenerationOptions) -> Tokens:
    """Prompts and contexts in all the forms that they may be given in. Raises GenerationError.

    To a model with an encoder, prompts without a context are the context, and tokens without a prompt begin as the
    model and the options say: with its start token, in a model of speech also with language and task.
    """
    encoder = loaded.manifest.program.encoder
    if encoder is None:
        if context is not None:
            raise GenerationError("the model has no encoder, so it takes no context")
        if prompts is None:
            raise GenerationError("there is no prompt")
        batch, single = split_prompts(prompts)
        rows = [loaded.encode(p, name) for p, name in zip(batch, _names("prompt", len(batch)), strict=True)]
        return Tokens([Beginning(tuple(r)) for r in rows], None, [isinstance(p, str) for p in batch], single)
    if context is None and not encoder.takes_tokens:
        raise GenerationError(f"the model reads {encoder.context[0]}, an array: give it as context")
    if context is None:
        prompts, context = None, prompts
    if context is None:
        raise GenerationError("there is no prompt")
    contexts, as_text, single = _contexts(loaded, context)
    if prompts is None:
        return Tokens([loaded.beginning(options)] * len(contexts), contexts, as_text, single)
    batch, alone = split_prompts(prompts)
    batch = batch * len(contexts) if alone else batch
    if len(batch) != len(contexts):
        raise GenerationError(f"there are {len(contexts)} contexts for {len(batch)} prompts")
    rows = [_beside(loaded, p, name, options) for p, name in zip(batch, _names("prompt", len(batch)), strict=True)]
    return Tokens(rows, contexts, [isinstance(p, str) for p in batch], single and alone)


def _contexts(loaded: LoadedModel, context: Any) -> tuple[list[Array], list[bool], bool]:
    """Each row's context, whether what follows from it is text by default, and whether it is one without a batch."""
    program = loaded.manifest.program
    assert program.encoder is not None, "the manifest has an encoder"
    if not program.encoder.takes_tokens:
        rows, single = context_array(program, context, fill=loaded.speech is not None)
        return rows, [loaded.tokenizer is not None] * len(rows), single
    batch, single = split_prompts(context)
    found: list[Array] = []
    for prompt, name in zip(batch, _names("context", len(batch)), strict=True):
        ids = loaded.encode_more(prompt, name, special_tokens=True)
        if not ids:
            raise GenerationError(f"{name} is empty")
        found.append(np.array(ids, dtype=np.int64))
    return found, [isinstance(prompt, str) for prompt in batch], single


def _beside(loaded: LoadedModel, prompt: Prompt, name: str, options: GenerationOptions) -> Beginning:
    """The tokens that a prompt beside a context stands for: a text follows those that the model begins with, token ids
    stand alone."""
    if not isinstance(prompt, str):
        tokens = check_ids(prompt, loaded.session.vocabulary_size, name)
        return Beginning(tuple(tokens)) if tokens else loaded.beginning(options)
    begin = loaded.beginning(options)
    text = loaded.encode_more(prompt, name, special_tokens=False)
    return Beginning((*begin.tokens, *text), begin.languages)


def _names(what: str, count: int) -> Sequence[str]:
    return [f"the {what}"] if count == 1 else [f"{what} {index}" for index in range(count)]
