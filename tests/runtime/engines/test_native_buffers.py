"""What takes two buffers, and what is computed once a prompt: rings, recurrent states and encoders in TVM."""

import numpy as np
import pytest

from graphwright.runtime import Decoder, GenerationError, KVCache, Model, load
from graphwright.runtime.encoder import encode
from tests.runtime.engines.recurrent import logits, write_recurrent
from tests.runtime.test_decoder import step


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(write_recurrent(tmp_path_factory.mktemp("artifacts") / "recurrent"), threads=2)


def decoder(model: Model, contexts: list[list[float]]) -> Decoder:
    session = model.loaded.session
    context = encode(session, [np.array(row, dtype=np.float32) for row in contexts])
    return Decoder(KVCache(session, len(contexts), 50), context)


def test_a_step_reads_one_buffer_and_writes_the_other(model: Model) -> None:
    contexts = [[1.0, 2.0], [4.0]]
    rows = [[1, 2, 3], [5]]
    running = decoder(model, contexts)
    result = step(running, rows)
    for new in ([7, 8], [2, 2], [9, 1], [3, 3]):
        for row, context, given in zip(rows, contexts, result, strict=True):
            np.testing.assert_array_equal(given, logits(context, row))
        for row, token in zip(rows, new, strict=True):
            row.append(token)
        result = step(running, [row[-1:] for row in rows])


def test_a_row_may_go_on_from_where_it_was(model: Model) -> None:
    running = decoder(model, [[1.0], [2.0]])
    step(running, [[1, 2], [3, 4]])
    tried = np.array([[5], [6]])
    for kept in ([0, 0], [0, 1], [1, 0]):
        running.step(tried, np.array([1, 1]), np.array([[0], [0]]))
        running.cache.advance(np.array(kept))
    given = step(running, [[7], [8]])
    np.testing.assert_array_equal(given[0], logits([1.0], [1, 2, 5, 7]))
    np.testing.assert_array_equal(given[1], logits([2.0], [3, 4, 6, 8]))


def test_the_public_calls_take_the_context(model: Model) -> None:
    context = np.array([0.5, 0.25], dtype=np.float32)
    found = model.logits([1, 2, 3], context=context)
    np.testing.assert_array_equal(found[0, -1], logits([0.75], [1, 2, 3]))
    # every logit grows with the token, so the last token is the likeliest
    assert model.generate([1], context=context, max_new_tokens=3) == [9, 9, 9]
    with pytest.raises(GenerationError, match="needs the context"):
        model.logits([1, 2, 3])
