"""ONNX Runtime on a GPU by a stand-in of the library: what is bound and when, and which runs are recorded graphs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from graphwright.backends.onnx.placement import Placement
from graphwright.compiling.lowering import build_artifact
from graphwright.runtime import Decoder, KVCache, Model, load
from tests.backends.placement.test_models import compiled
from tests.runtime.engines.standing_in import Library, Session, real

ROWS, CAPACITY, STEPS = 2, 40, 6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama in float16, whose steps of several tokens are for one row."""
    folder = tmp_path_factory.mktemp("onnx") / "a"
    assert build_artifact(compiled("llama", "f16"), folder, target="cuda").manifest.program.recordable
    return folder


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    library = Library()
    monkeypatch.setattr("graphwright.runtime.engines.onnxruntime.import_onnxruntime", lambda: library)
    return library


class Running:
    """A decoder over a cache of its own, fed with a prompt of rows of other lengths and then single tokens."""

    def __init__(self, model: Model) -> None:
        self.cache = KVCache(model.loaded.session, ROWS, CAPACITY)
        self.decoder = Decoder(self.cache)

    def prompt(self, seed: int, tokens: int = 4) -> npt.NDArray[np.float32]:
        ids = np.random.default_rng(seed).integers(3, 250, (ROWS, tokens))
        new = np.array([tokens, tokens - 1])
        logits = self.decoder.step(ids, new, new[:, None] - 1).copy()
        self.cache.lengths += new
        return logits

    def token(self, seed: int, times: int = 1) -> npt.NDArray[np.float32]:
        """Logits, said so many times."""
        ids = np.random.default_rng(seed).integers(3, 250, (ROWS, 1))
        ones = np.ones(ROWS, np.int64)
        logits = self.decoder.step(ids, ones, np.zeros((ROWS, times), np.int64)).copy()
        self.cache.lengths += ones
        return logits


def both(folder: Path) -> tuple[Running, Running]:
    """On the device, and on the CPU, where nothing is recorded."""
    on_device = Running(load(folder, device="cuda", threads=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("graphwright.runtime.engines.onnxruntime.import_onnxruntime", lambda: real)
        return on_device, Running(load(folder, threads=1))


def test_a_second_step_is_recorded_and_others_are_replayed(folder: Path, library: Library) -> None:
    found, wanted = both(folder)
    assert np.array_equal(found.prompt(0), wanted.prompt(0))
    for seed in range(STEPS):
        assert np.array_equal(found.token(seed), wanted.token(seed))
    (session,) = library.sessions
    assert session.runs == [*["plain"] * (ROWS + 1), "recorded", *["replayed"] * (STEPS - 2)]


def test_nothing_is_bound_again_from_token_to_token(folder: Path, library: Library) -> None:
    found, _ = both(folder)
    found.prompt(0)
    found.token(0)
    (session,) = library.sessions
    before = sum(binding.count for binding in session.bindings)
    for seed in range(STEPS):
        found.token(seed)
    assert sum(binding.count for binding in session.bindings) == before


def test_another_prompt_goes_on_with_the_graph_that_there_is(folder: Path, library: Library) -> None:
    """The buffers of tokens are kept while those of prompts come and go."""
    found, wanted = both(folder)
    for tokens in (4, 3, 3, 3):
        assert np.array_equal(found.prompt(tokens, tokens), wanted.prompt(tokens, tokens))
        for seed in range(3):
            assert np.array_equal(found.token(seed), wanted.token(seed))
    (session,) = library.sessions
    assert session.runs.count("recorded") == 1


def test_other_shapes_have_another_graph(folder: Path, library: Library) -> None:
    found, wanted = both(folder)
    found.prompt(0)
    wanted.prompt(0)
    for times in (1, 1, 1, 2, 2, 2, 1, 2):
        assert np.array_equal(found.token(times, times), wanted.token(times, times))
    (session,) = library.sessions
    runs = session.runs[ROWS:]
    assert runs == ["plain", "recorded", "replayed", "plain", "recorded", "replayed", "replayed", "replayed"]


def test_each_cache_has_a_graph_of_its_own(folder: Path, library: Library) -> None:
    model = load(folder, device="cuda", threads=1)
    one, other = Running(model), Running(model)
    _, first = both(folder)
    _, second = both(folder)
    for running, alone, seed in ((one, first, 1), (other, second, 2)):
        assert np.array_equal(running.prompt(seed), alone.prompt(seed))
    for step in range(STEPS):
        for running, alone, seed in ((one, first, step), (other, second, 100 + step)):
            assert np.array_equal(running.token(seed), alone.token(seed))
    session = library.sessions[0]
    assert session.runs.count("recorded") == 2
    assert session.runs.count("replayed") == 2 * (STEPS - 2)


def test_a_session_records_so_many_graphs_and_no_more(
    folder: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("graphwright.runtime.engines.onnxruntime_device.MOST_GRAPHS", 1)
    model = load(folder, device="cuda", threads=1)
    _, alone = both(folder)
    running = [Running(model), Running(model)]
    wanted = [alone.prompt(1), *(alone.token(step) for step in range(3))]
    for each in running:
        found = [each.prompt(1), *(each.token(step) for step in range(3))]
        assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))
    assert library.sessions[0].runs.count("recorded") == 1


def test_what_is_not_recordable_is_not_recorded(
    tmp_path: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Placement, "is_capturable", False)
    manifest = build_artifact(compiled("llama", "f16"), tmp_path / "a", target="cuda").manifest
    assert not manifest.program.recordable
    found, wanted = both(tmp_path / "a")
    assert np.array_equal(found.prompt(0), wanted.prompt(0))
    assert all(np.array_equal(found.token(seed), wanted.token(seed)) for seed in range(3))
    session: Session = library.sessions[0]
    assert not session.records
    assert set(session.runs) == {"plain"}
