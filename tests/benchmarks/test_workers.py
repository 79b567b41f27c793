"""The real workers, each against the same tiny checkpoint or program."""

from pathlib import Path

import pytest

from benchmarks.builds import build, start_worker
from benchmarks.checkpoint import checkpoint
from benchmarks.peers.graphwright_worker import GraphwrightWorker
from benchmarks.peers.systems import SYSTEMS
from benchmarks.shapes import ModelShape
from tests.runtime.program import TinyDecoder, write_artifact

PROMPT, CONTINUATION = [5, 17, 250, 3, 3, 90], [7, 280, 11]


def test_graphwright_runs_the_model_it_loaded(tmp_path: Path) -> None:
    tiny = TinyDecoder()
    prompt, continuation = [3, 1, 4, 1, 5], [9, 2, 6]
    worker = GraphwrightWorker()
    worker.load(write_artifact(tmp_path / "artifact", tiny), {})
    prefill, decode = worker.prefill(prompt), worker.decode(prompt, continuation)
    assert prefill.next_token == tiny.greedy(prompt, 1)[-1]
    assert decode.next_token == tiny.greedy(prompt + continuation, 1)[-1]
    assert prefill.seconds > 0
    assert len(decode.seconds) == 3


@pytest.mark.slow
def test_peers_agree_on_the_same_checkpoint(tiny_shape: ModelShape, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    systems = [SYSTEMS[name] for name in ("genai", "genai-shared", "transformers", "transformers-static")]
    genai = SYSTEMS["genai"].environment
    assert genai is not None
    if not genai.is_installed:
        pytest.skip(f"the peer is not installed: {genai.install_command}")
    source = checkpoint(tiny_shape, tmp_path)
    found: set[tuple[int, int]] = set()
    for system in systems:
        folder = build(system, source, tmp_path)
        with start_worker(system, tmp_path) as worker:
            worker.load(folder, system.options)
            prefill, decode = worker.prefill(PROMPT), worker.decode(PROMPT, CONTINUATION)
            worker.wait_until_quiet()
        assert prefill.seconds > 0
        assert len(decode.seconds) == len(CONTINUATION)
        found.add((prefill.next_token, decode.next_token))
    assert len(found) == 1
