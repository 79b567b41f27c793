"""Models with recurrent layers against the original modules: prefill, chunks, decode, ragged rows, in both dialects."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import Engine, interpreted, loaded
from benchmarks.coverage.reference import worst
from graphwright.compiling.lowering import build_artifact
from graphwright.ir import parse_program, print_program, verify
from graphwright.runtime import ContextError, Decoder, KVCache, Model, load
from tests.frontend.compare import assert_round_trip, assert_same_function, operators
from tests.models.case import CHUNKS, LENGTHS, Case
from tests.models.recurrent_zoo import CONFIGURATIONS, make

NAMED = ("mamba", "mamba2", "qwen3_next", "lfm2")
"""One of each kind of recurrence; the others come along by mechanism."""

NAMES = [name if name in NAMED else pytest.param(name, marks=pytest.mark.slow) for name in CONFIGURATIONS]


@cache
def case(name: str) -> Case:
    return Case(f"recurrent {name}", make(name))


@pytest.mark.parametrize("name", NAMES)
def test_captured_at_lengths_that_were_not_traced(name: str) -> None:
    program = case(name).captured
    assert_same_function(program, make(name))
    assert_round_trip(program)
    recurrences = {"linear_recurrence", "weighted_mean", "convolution"} & set(operators(program))
    assert recurrences


@pytest.mark.parametrize("name", NAMES)
def test_continuation_equals_eager(name: str) -> None:
    it = case(name)
    found = continued_logits(interpreted(it.program), it.rows, CHUNKS, 40)
    assert [len(f) for f in found] == list(LENGTHS)
    assert worst(found, it.exact) < it.bound


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", NAMES)
def test_artifact_equals_eager(name: str, dialect: str, tmp_path: Path) -> None:
    it = case(name)
    build_artifact(it.program, tmp_path / "artifact", dialect=dialect)
    found = continued_logits(loaded(load(tmp_path / "artifact", threads=1)), it.rows, CHUNKS, 64)
    assert worst(found, it.exact) < it.bound


@pytest.mark.parametrize("name", NAMED)
def test_text_round_trip(name: str) -> None:
    text = print_program(case(name).program)
    again = parse_program(text)
    verify(again)
    assert print_program(again) == text


def test_a_wrong_state_is_seen() -> None:
    """The bound of the comparisons rejects a state that is off by a part in a thousand."""
    it = case("mamba2")

    class Disturbed:
        def __init__(self, batch: int, capacity: int) -> None:
            self.engine: Any = interpreted(it.program)(batch, capacity)

        def step(self, ids: torch.Tensor, new: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
            logits = self.engine.step(ids, new, positions)
            self.engine.run.states = {n: v * 1.001 for n, v in self.engine.run.states.items()}
            return logits

    def start(batch: int, capacity: int) -> Engine:
        return Disturbed(batch, capacity)

    assert worst(continued_logits(start, it.rows, CHUNKS, 40), it.exact) > it.bound


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("mamba") / "artifact"
    program = case("mamba").program.clone()
    program.metadata["eos_token_ids"] = ()
    del program.metadata["context_length"]  # the model states none
    build_artifact(program, folder)
    return load(folder, threads=1)


def greedy(model: Model, prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(model.logits(tokens)[0, -1].argmax()))
    return tokens[len(prompt) :]


def test_a_conversation_continues_rewinds_and_forks(mamba: Model) -> None:
    conversation = mamba.conversation()
    conversation.append([5, 6, 7])
    first = conversation.complete(max_new_tokens=4).token_ids
    assert first == greedy(mamba, [5, 6, 7], 4)
    twin = conversation.fork()
    conversation.append([9])
    assert conversation.complete(max_new_tokens=3).token_ids == greedy(mamba, [5, 6, 7, *first, 9], 3)
    assert twin.complete(max_new_tokens=3).token_ids == greedy(mamba, [5, 6, 7, *first], 3)
    twin.rewind(5)
    kept = list(twin.tokens)
    assert twin.complete(max_new_tokens=3).token_ids == greedy(mamba, kept, 3)


def test_rows_of_different_lengths_generate_as_if_alone(mamba: Model) -> None:
    prompts = [[5, 6, 7, 8, 9, 10, 11], [12], [13, 14, 15]]
    together = mamba.generate(prompts, max_new_tokens=5)
    assert together == [greedy(mamba, prompt, 5) for prompt in prompts]


def test_states_take_the_same_room_whatever_the_context(mamba: Model) -> None:
    # a convolution [128, 3] and a scan [128, 8], of float32, in two buffers
    assert mamba.cache_bytes(max_context=10) == mamba.cache_bytes(max_context=1000) == 2 * 128 * (3 + 8) * 4
    assert mamba.loaded.session.context_length == 1 << 20
    assert np.isfinite(mamba.logits([1, 2, 3])).all()


def _step(decoder: Decoder, rows: list[list[int]], kept: list[int] | None = None) -> np.ndarray[Any, Any]:
    """Feeds rows padded on the right; keeps the tokens of all, or of each row as many as said."""
    lengths = np.array([len(row) for row in rows])
    ids = np.array([row + [0] * (max(lengths) - len(row)) for row in rows])
    logits = decoder.step(ids, lengths, lengths[:, None] - 1)[:, 0].copy()
    decoder.cache.advance(lengths if kept is None else np.array(kept))
    return logits


def test_a_row_whose_tokens_are_not_kept_stays_where_it_was(mamba: Model) -> None:
    decoder = Decoder(KVCache(mamba.loaded.session, 2, 64))
    _step(decoder, [[5, 6, 7], [8, 9]])
    _step(decoder, [[10], [11]], [1, 0])
    _step(decoder, [[12, 13], [14]], [0, 0])
    found = _step(decoder, [[15], [16]])
    for row, tokens in zip(found, ([5, 6, 7, 10, 15], [8, 9, 16]), strict=True):
        np.testing.assert_allclose(row, mamba.logits(tokens)[0, -1], atol=case("mamba").bound)


def test_a_state_holds_all_tokens_of_a_step_or_none(mamba: Model) -> None:
    decoder = Decoder(KVCache(mamba.loaded.session, 2, 64))
    message = r"rows took \[3, 2\] new tokens and cannot keep \[2, 2\] of them: a recurrent state holds all"
    with pytest.raises(ContextError, match=message):
        _step(decoder, [[5, 6, 7], [8, 9]], [2, 2])
    with pytest.raises(ContextError, match=r"rows took \[0, 0\] new tokens"):
        KVCache(mamba.loaded.session, 2, 64).advance(np.array([1, 1]))


def test_a_state_is_rewound_to_its_start_or_not_at_all(mamba: Model) -> None:
    decoder = Decoder(KVCache(mamba.loaded.session, 2, 64))
    _step(decoder, [[5, 6, 7], [8, 9]])
    with pytest.raises(ContextError, match="the model has a recurrent state, which can only be emptied"):
        decoder.cache.rewind(1)
    assert decoder.cache.lengths.tolist() == [3, 2]
    decoder.cache.rewind([3, 0])
    found = _step(decoder, [[12, 13], [14]])
    for row, tokens in zip(found, ([12, 13], [8, 9, 14]), strict=True):
        np.testing.assert_allclose(row, mamba.logits(tokens)[0, -1], atol=case("mamba").bound)
