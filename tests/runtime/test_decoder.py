"""The step: positions, padding, lengths and the in-place cache, against a reference without a cache."""

from pathlib import Path

import numpy as np
import pytest

from graphwright.runtime import ContextError, Decoder, KVCache, Model, SessionError, load
from tests.runtime.program import TinyDecoder, write_artifact

# One float32 attention over at most 32 keys of width 8, then a dot product of width 16 with logits up to about 20.
TOLERANCE = 5e-5


def step(decoder: Decoder, rows: list[list[int]]) -> np.ndarray:
    """Feed ragged `rows` and return the logits after each row's last token."""
    lengths = np.array([len(row) for row in rows])
    padded = np.zeros((len(rows), lengths.max()), dtype=np.int64)
    for target, row in zip(padded, rows, strict=True):
        target[: len(row)] = row
    logits = decoder.step(padded, lengths, lengths[:, None] - 1)
    decoder.cache.advance(lengths)
    return logits[:, 0].copy()


def test_prefill_gives_the_logits_of_all_positions(model: Model, tiny: TinyDecoder) -> None:
    tokens = [3, 1, 4, 1, 5, 9, 2, 6]
    np.testing.assert_allclose(model.logits(tokens), tiny.logits(tokens)[None], atol=TOLERANCE)


def test_decode_equals_prefill_of_everything(model: Model, tiny: TinyDecoder) -> None:
    decoder = Decoder(KVCache(model.loaded.session, 1, 16))
    tokens = [7, 8, 9]
    logits = step(decoder, [tokens])
    for new in (10, 11, 12, 13):
        np.testing.assert_allclose(logits[0], tiny.logits(tokens)[-1], atol=TOLERANCE)
        tokens.append(new)
        logits = step(decoder, [[new]])
    assert decoder.cache.lengths.tolist() == [len(tokens)]


def test_rows_of_a_ragged_batch_do_not_see_each_other_or_padding(model: Model, tiny: TinyDecoder) -> None:
    rows = [[5], [6, 7, 8, 9, 10], [11, 12]]
    decoder = Decoder(KVCache(model.loaded.session, 3, 12))
    logits = step(decoder, rows)
    for turn in range(4):
        for index, row in enumerate(rows):
            np.testing.assert_allclose(logits[index], tiny.logits(row)[-1], atol=TOLERANCE)
            row.append(20 + 3 * turn + index)
        logits = step(decoder, [row[-1:] for row in rows])


def test_several_tokens_after_a_past_in_one_step(model: Model, tiny: TinyDecoder) -> None:
    decoder = Decoder(KVCache(model.loaded.session, 1, 12))
    step(decoder, [[1, 2, 3]])
    np.testing.assert_allclose(step(decoder, [[4, 5, 6]])[0], tiny.logits([1, 2, 3, 4, 5, 6])[-1], atol=TOLERANCE)


def test_rewind_forgets_and_the_tail_is_overwritten(model: Model, tiny: TinyDecoder) -> None:
    decoder = Decoder(KVCache(model.loaded.session, 2, 12))
    step(decoder, [[1, 2, 3, 4], [5, 6]])
    decoder.cache.rewind([2, 1])
    logits = step(decoder, [[7], [8]])
    np.testing.assert_allclose(logits[0], tiny.logits([1, 2, 7])[-1], atol=TOLERANCE)
    np.testing.assert_allclose(logits[1], tiny.logits([5, 8])[-1], atol=TOLERANCE)


def test_fork_is_independent(model: Model, tiny: TinyDecoder) -> None:
    decoder = Decoder(KVCache(model.loaded.session, 1, 12))
    step(decoder, [[1, 2, 3]])
    twin = Decoder(decoder.cache.fork())
    step(decoder, [[4]])
    np.testing.assert_allclose(step(twin, [[5]])[0], tiny.logits([1, 2, 3, 5])[-1], atol=TOLERANCE)
    np.testing.assert_allclose(step(decoder, [[6]])[0], tiny.logits([1, 2, 3, 4, 6])[-1], atol=TOLERANCE)


def test_the_kernel_writes_into_the_bound_buffer(model: Model, tiny: TinyDecoder) -> None:
    cache = KVCache(model.loaded.session, 1, 8)
    decoder = Decoder(cache)
    views = [buffer.value.numpy() for buffer in cache.buffers]
    for view in views:
        view[:] = 7.0
    step(decoder, [[3, 4]])
    step(decoder, [[5]])
    expected = tiny.weights["embedding"][[3, 4, 5]] + tiny.weights["position"][:3]
    for view in views:
        written = view[0].transpose(1, 0, 2).reshape(8, -1)
        np.testing.assert_array_equal(written[:3], expected)
        np.testing.assert_array_equal(written[3:], 7.0)


def test_a_step_that_does_not_fit_is_refused_before_any_work(model: Model, tiny: TinyDecoder) -> None:
    decoder = Decoder(KVCache(model.loaded.session, 2, 4))
    step(decoder, [[1, 2, 3], [4]])
    with pytest.raises(ContextError, match="3 cached and 2 new tokens exceed the context of 4"):
        step(decoder, [[5, 6], [7, 8]])
    np.testing.assert_allclose(step(decoder, [[5], [6]])[1], tiny.logits([4, 6])[-1], atol=TOLERANCE)


def test_rewinding_more_than_there_is_is_refused(model: Model) -> None:
    cache = KVCache(model.loaded.session, 2, 4)
    cache.advance(np.array([1, 3]))
    for tokens in (2, [1, 4], -1):
        with pytest.raises(ContextError, match="cannot rewind"):
            cache.rewind(tokens)
    assert cache.lengths.tolist() == [1, 3]


def test_cache_size_is_known_without_allocating(model: Model) -> None:
    # two caches, two heads of eight float32
    assert KVCache.bytes_for(model.manifest, 3, 10) == 2 * 3 * 2 * 10 * 8 * 4
    assert model.cache_bytes() == 2 * 2 * 32 * 8 * 4
    assert model.cache_bytes(batch=2, max_context=5) == 2 * 2 * 2 * 5 * 8 * 4


def test_a_cache_beyond_the_memory_says_how_much_it_needs(model: Model) -> None:
    with pytest.raises(ContextError, match=r"needs 128000000\.0 GiB, more than this machine has left"):
        KVCache(model.loaded.session, 2**30, 1_000_000)


def test_a_program_that_fails_is_named(tmp_path: Path, tiny: TinyDecoder) -> None:
    model = load(write_artifact(tmp_path / "tiny", tiny))
    decoder = Decoder(KVCache(model.loaded.session, 1, 8))
    with pytest.raises(SessionError, match=r"model\.onnx: the program failed: .*indices"):
        decoder.step(np.array([[99]]), np.array([1]), np.array([[0]]))
    np.testing.assert_allclose(step(decoder, [[5]])[0], tiny.logits([5])[-1], atol=TOLERANCE)
