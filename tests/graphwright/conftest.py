"""A small checkpoint with a tokenizer and its artifact, shared by the tests that only read them."""

import shutil
from pathlib import Path

import pytest
from transformers import LlamaConfig, LlamaForCausalLM

import graphwright
from tests.graphwright.commands import Commands
from tests.pretrained import save_pretrained
from tests.runtime import tokenizer_files
from tests.tensors import manual_seed

CONTEXT = 64


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of two layers in Hugging Face form; 64 tokens of context."""
    folder = tmp_path_factory.mktemp("checkpoint") / "small"
    tokenizer = tokenizer_files.byte_level()
    config = LlamaConfig(
        vocab_size=tokenizer_files.size(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        bos_token_id=1,
        eos_token_id=2,
    )
    manual_seed(0)
    save_pretrained(LlamaForCausalLM(config), folder)
    (folder / "tokenizer.json").write_text(tokenizer, encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def artifact(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint, compiled."""
    folder = tmp_path_factory.mktemp("artifact") / "small"
    graphwright.compile(checkpoint, output=folder)
    return folder


@pytest.fixture
def checkpoint_copy(checkpoint: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def artifact_copy(artifact: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(artifact, tmp_path / "artifact"))


@pytest.fixture
def commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Commands:
    """The command line, in this process."""
    return Commands(capsys, monkeypatch)
