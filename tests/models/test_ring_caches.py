"""Models with ring caches against the original modules: past the window, ragged rows, both dialects, the runtime."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted, loaded
from benchmarks.coverage.reference import worst
from graphwright.compiling.lowering import build_artifact
from graphwright.compiling.targets import with_cache_layout
from graphwright.ir import Program, StateType
from graphwright.passes import PIPELINES, parse_passes, run_passes
from graphwright.runtime import ContextError, Decoder, KVCache, Model, load
from tests.backends.ties import follow
from tests.models.test_architectures import CHUNKS, LENGTHS, case
from tests.tensors import listed

RINGS = {"mistral": [True], "gemma3": [True, False], "gemma2": [True, False]}
"""Which layers have a ring; the window is 8."""
FEEDS = {"chunks": CHUNKS, "a prompt past the window": (20, 1, 7), "one by one": (1,) * max(LENGTHS)}


@cache
def ringed(name: str) -> Program:
    program = case(name).captured.clone()
    run_passes(program, with_cache_layout(PIPELINES["cpu"], "ring"))
    return program


@pytest.mark.parametrize("name", RINGS)
def test_only_layers_under_a_window_have_rings(name: str) -> None:
    graph = ringed(name).graphs["prefill"]
    for layer, ring in enumerate(RINGS[name]):
        for part in ("key", "value"):
            type = graph.input(f"past.{layer}.{part}").type
            assert isinstance(type, StateType)
            assert (type.layout, str(type.shape[2])) == (("ring", "7") if ring else ("contiguous", "C"))
    packed = [op for op in graph if op.name == "linear"]
    assert len(packed) == 4 * len(RINGS[name]) + 1, "q, k and v are one product, with rings too"


@pytest.mark.parametrize("feed", FEEDS)
@pytest.mark.parametrize("name", RINGS)
def test_continuation_equals_eager(name: str, feed: str) -> None:
    it = case(name)
    found = continued_logits(interpreted(ringed(name)), it.rows, FEEDS[feed], 60)
    assert [len(f) for f in found] == list(LENGTHS)
    assert worst(found, it.exact) < it.bound


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", RINGS)
def test_artifact_equals_eager(name: str, dialect: str, tmp_path: Path) -> None:
    it = case(name)
    report = build_artifact(ringed(name), tmp_path / "artifact", dialect=dialect)
    assert report.lowering.hits["ring-append"] == 2 * sum(RINGS[name])
    model = load(tmp_path / "artifact", threads=1)
    for feed in FEEDS.values():
        assert worst(continued_logits(loaded(model), it.rows, feed, 60), it.exact) < it.bound
    reasons = {miss.reason for miss in report.lowering.near_misses if miss.rule == "group-query-attention"}
    expected = {"its keys have positions of their own, as those of a ring cache do"} if dialect == "ort" else set[str]()
    assert reasons == expected


@pytest.mark.parametrize("spec", ["bits=8", "bits=4, values=token"])
@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_rings_of_codes_go_on_as_in_the_interpreter(dialect: str, spec: str, tmp_path: Path) -> None:
    it, program = case("gemma3"), ringed("gemma3").clone()
    np.save(tmp_path / "tokens.npy", np.random.default_rng(0).integers(3, 250, (6, 30)))
    run_passes(program, parse_passes(f"quantize-cache{{{spec}, tokens={tmp_path / 'tokens.npy'}}}"))
    build_artifact(program, tmp_path / "artifact", dialect=dialect)
    model = load(tmp_path / "artifact", threads=1)
    for feed in FEEDS.values():
        for row, logits in zip(it.rows, continued_logits(loaded(model), it.rows, feed, 60), strict=True):
            follow(program.graphs["prefill"], listed(row), logits.numpy())


@pytest.fixture(scope="module")
def gemma(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("gemma") / "artifact"
    program = ringed("gemma3").clone()
    program.metadata["eos_token_ids"] = ()
    build_artifact(program, folder)
    return load(folder, threads=1)


def greedy(model: Model, prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(model.logits(tokens)[0, -1].argmax()))
    return tokens[len(prompt) :]


def test_a_conversation_continues_rewinds_and_forks(gemma: Model) -> None:
    conversation = gemma.conversation(max_context=100)
    conversation.append([5, 6, 7])
    first = conversation.complete(max_new_tokens=9).token_ids
    assert first == greedy(gemma, [5, 6, 7], 9)
    twin = conversation.fork()
    conversation.append([9])
    assert conversation.complete(max_new_tokens=8).token_ids == greedy(gemma, [5, 6, 7, *first, 9], 8)
    assert twin.complete(max_new_tokens=3).token_ids == greedy(gemma, [5, 6, 7, *first], 3)
    twin.rewind(5)
    kept = list(twin.tokens)
    assert twin.complete(max_new_tokens=3).token_ids == greedy(gemma, kept, 3)


def test_rows_of_different_lengths_generate_as_if_alone(gemma: Model) -> None:
    prompts = [list(range(5, 25)), [12], [13, 14, 15]]
    assert gemma.generate(prompts, max_new_tokens=9) == [greedy(gemma, prompt, 9) for prompt in prompts]


def fed(
    decoder: Decoder, rows: list[list[int]], kept: list[int] | None = None
) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Last logits of rows padded on the right; keeps the tokens of all, or of each row as many as said."""
    lengths = np.array([len(row) for row in rows])
    ids = np.array([row + [0] * (max(lengths) - len(row)) for row in rows])
    logits = decoder.step(ids, lengths, lengths[:, None] - 1)[:, 0].copy()
    decoder.cache.advance(lengths if kept is None else np.array(kept))
    return logits


def test_a_row_whose_tokens_are_not_kept_stays_where_it_was(gemma: Model) -> None:
    decoder = Decoder(KVCache(gemma.loaded.session, 2, 64))
    rows = [list(range(3, 14)), list(range(20, 29))]
    fed(decoder, rows)
    fed(decoder, [[40, 41, 42], [43]], [3, 0])
    fed(decoder, [[50] * 9, [51] * 9], [0, 0])
    found = fed(decoder, [[15], [16]])
    for row, tokens in zip(found, ([*rows[0], 40, 41, 42, 15], [*rows[1], 16]), strict=True):
        np.testing.assert_allclose(row, gemma.logits(tokens)[0, -1], atol=case("gemma3").bound)


def test_a_ring_is_rewound_while_it_has_overwritten_nothing(gemma: Model) -> None:
    decoder = Decoder(KVCache(gemma.loaded.session, 2, 64))
    fed(decoder, [list(range(3, 10)), [8, 9]])
    assert decoder.cache.can_rewind(2)
    decoder.cache.rewind([3, 1])
    found = fed(decoder, [[30, 31, 32, 33], [34]])
    for row, tokens in zip(found, ([3, 4, 5, 6, 30, 31, 32, 33], [8, 34]), strict=True):
        np.testing.assert_allclose(row, gemma.logits(tokens)[0, -1], atol=case("gemma3").bound)
    assert not decoder.cache.can_rewind(1)
    with pytest.raises(ContextError, match="the model has a ring that has overwritten tokens, which can only be empt"):
        decoder.cache.rewind([1, 0])
    decoder.cache.rewind([8, 1])
    found = fed(decoder, [[12], [35]])
    for row, tokens in zip(found, ([12], [8, 35]), strict=True):
        np.testing.assert_allclose(row, gemma.logits(tokens)[0, -1], atol=case("gemma3").bound)


def test_rings_take_the_same_room_whatever_the_context(gemma: Model) -> None:
    place = 2 * 2 * 32 * 4  # keys and values, two heads of size 32, float32
    rings, growing = 2 * 7 * place, place
    for context in (10, 500):
        assert gemma.cache_bytes(max_context=context) == rings + growing * context
