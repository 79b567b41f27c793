"""The real workers, each against the same tiny checkpoint or program."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.builds import build, start_worker
from benchmarks.checkpoint import checkpoint
from benchmarks.peers.graphwright_worker import GraphwrightWorker
from benchmarks.peers.systems import SYSTEMS
from benchmarks.shapes import ModelShape
from tests.runtime.program import TinyDecoder, write_artifact

PROMPT, CONTINUATION = [5, 17, 250, 3, 3, 90], [7, 280, 11]
OTHER = [7, 16, 5, 1, 2, 9]
PEERS = ("transformers-static", "genai", "llama.cpp", "openvino", "optimum-onnx")


def test_graphwright_runs_the_model_it_loaded(tmp_path: Path) -> None:
    tiny = TinyDecoder()
    prompt, continuation = [3, 1, 4, 1, 5], [9, 2, 6, 5]
    worker = GraphwrightWorker()
    worker.load(write_artifact(tmp_path / "artifact", tiny), {})
    prefill, decode = worker.prefill(prompt), worker.decode(prompt, continuation, 1)
    assert prefill.next_token == tiny.greedy(prompt, 1)[-1]
    assert decode.next_token == tiny.greedy(prompt + continuation, 1)[-1]
    assert prefill.seconds > 0
    assert len(decode.seconds) == 4
    verify = worker.decode(prompt, continuation, 2)
    assert verify.next_token == decode.next_token
    assert len(verify.seconds) == 2
    rows = [prompt, [2, 7, 1, 8, 2]]
    batch = worker.batch(rows, [continuation] * 2)
    assert batch.next_tokens == [tiny.greedy(row + continuation, 1)[-1] for row in rows]
    assert len(batch.seconds) == 4
    logits = np.frombuffer(worker.logits(prompt, continuation), dtype=np.float32).reshape(5, -1)
    assert (int(logits[0].argmax()), int(logits[-1].argmax())) == (prefill.next_token, decode.next_token)


@pytest.fixture(scope="module")
def source(tiny_shape: ModelShape, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tiny_shape, tmp_path_factory.mktemp("peers"))


@pytest.fixture(scope="module")
def expected(source: Path) -> list[int]:
    return likeliest("transformers", source)


def likeliest(name: str, source: Path) -> list[int]:
    """The system's tokens after prompt and continuation; skips the test where it is not installed."""
    system, cache = SYSTEMS[name], source.parents[1]
    assert system.environment is not None
    if not system.environment.is_installed:
        pytest.skip(f"the peer is not installed: {system.environment.install_command}")
    folder = build(system, source, cache).folder
    with start_worker(system, cache) as worker:
        worker.load(folder, system.options)
        prefill, decode = worker.prefill(PROMPT), worker.decode(PROMPT, CONTINUATION)
        logits = worker.logits(PROMPT, CONTINUATION)
        if system.verifies:
            assert worker.decode(PROMPT, CONTINUATION, len(CONTINUATION)).next_token == decode.next_token
        if system.batches:
            assert worker.batch([PROMPT, OTHER], [CONTINUATION] * 2).next_tokens == [
                worker.decode(row, CONTINUATION).next_token for row in (PROMPT, OTHER)
            ]
        worker.wait_until_quiet()
    assert prefill.seconds > 0
    assert len(decode.seconds) == len(CONTINUATION)
    tokens = [prefill.next_token, decode.next_token]
    assert logits.shape[0] == len(CONTINUATION) + 1
    assert [int(logits[0].argmax()), int(logits[-1].argmax())] == tokens
    return tokens


@pytest.mark.slow
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_runs_the_same_checkpoint(name: str, source: Path, expected: list[int]) -> None:
    assert likeliest(name, source) == expected
