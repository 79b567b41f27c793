"""One small model with each kind of cache kernel, shared by the tests that only read it."""

from pathlib import Path
from typing import cast

import pytest
from hypothesis import settings

from graphwright.runtime import Model, load
from tests.runtime import tokenizer_files
from tests.runtime.native_decoder import write_native_artifact
from tests.runtime.program import Dialect, TinyDecoder, write_artifact

# A busy machine is no defect of the code under test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def tiny() -> TinyDecoder:
    return TinyDecoder()


@pytest.fixture(scope="session", params=["scatter", "contrib", "tvm"])
def model(request: pytest.FixtureRequest, tiny: TinyDecoder, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Token ids only; the cache written by TensorScatter, by GroupQueryAttention, or by a library of TVM's."""
    folder = tmp_path_factory.mktemp("artifacts") / "tiny"
    if request.param == "tvm":
        return load(write_native_artifact(folder, tiny), threads=2)
    return load(write_artifact(folder, tiny, dialect=cast(Dialect, request.param)), threads=1)


@pytest.fixture(scope="session", params=["byte_level", "byte_fallback"])
def text_model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    """With a tokenizer, whose every token the model may generate."""
    tokenizer = cast(str, getattr(tokenizer_files, request.param)())
    tiny = TinyDecoder(vocabulary_size=tokenizer_files.size(tokenizer), context_length=64, seed=3)
    folder: Path = tmp_path_factory.mktemp("artifacts") / "text"
    return load(write_artifact(folder, tiny, files={"tokenizer.json": tokenizer}), threads=1)
