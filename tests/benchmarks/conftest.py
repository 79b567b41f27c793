"""A model shape that takes milliseconds, and processes of the fake worker."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.peers.process import WorkerProcess
from benchmarks.shapes import ModelShape


@pytest.fixture(scope="session")
def tiny_shape() -> ModelShape:
    return ModelShape(
        name="tiny",
        model_type="qwen2",
        architecture="Qwen2ForCausalLM",
        hidden_size=64,
        intermediate_size=96,
        layers=2,
        heads=4,
        key_value_heads=2,
        head_size=16,
        vocabulary_size=300,
        tied_embeddings=True,
        rope_theta=10_000.0,
        norm_epsilon=1e-6,
        context_length=64,
        bos_token_id=298,
        eos_token_id=299,
        query_key_value_bias=True,
    )


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., WorkerProcess]:
    def start(behaviour: str = "", *, name: str = "fake", answer_seconds: float = 60.0) -> WorkerProcess:
        command = [sys.executable, "-m", "tests.benchmarks.fake_worker", behaviour]
        return WorkerProcess(name, command, tmp_path / f"{name}.log", answer_seconds=answer_seconds)

    return start
