from pathlib import Path

import pytest

from tests.runtime.engines.probes import compile_probe


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled once; tests put it into artifacts."""
    return compile_probe(tmp_path_factory.mktemp("probe") / "probe.so")
