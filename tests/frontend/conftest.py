from __future__ import annotations

from pathlib import Path

import pytest
import transformers

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


@pytest.fixture
def stories260k() -> Path:
    """A small real checkpoint that stands beside the repository."""
    folder = Path(__file__).resolve().parents[2].parent / "shared" / "models" / "stories260k"
    if not folder.is_dir():
        pytest.skip("the shared model stories260k is not here")
    return folder
