"""The tokenizer in a checkpoint's or an artifact's folder."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from graphwright.runtime.errors import ArtifactError
from graphwright.runtime.files import TABLES, read_text

if TYPE_CHECKING:
    from graphwright.runtime.tokenizer import Tokenizer

TOKENIZER_FILE = "tokenizer.json"


def read_tokenizer(folder: str | Path | None) -> "Tokenizer | None":
    """None without a folder, or where it has no tokenizer.json. Raises ArtifactError for one that is unusable."""
    if folder is None or not os.path.lexists(file := Path(folder) / TOKENIZER_FILE):
        return None
    from graphwright.runtime.tokenizer import Tokenizer

    try:
        return Tokenizer(read_text(file, TABLES), str(file))
    except (OSError, UnicodeDecodeError) as problem:
        raise ArtifactError(f"{file} cannot be read: {problem}") from None
