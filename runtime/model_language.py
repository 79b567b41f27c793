"""A loaded model as what can be evaluated."""

from collections.abc import Iterator

import numpy as np

from graphwright.runtime.cache import KVCache
from graphwright.runtime.decoder import Decoder
from graphwright.runtime.errors import DataError
from graphwright.runtime.evaluation import Logits
from graphwright.runtime.model import Model
from graphwright.runtime.token_rows import Ids


class RuntimeLanguageModel:
    """Reads rows with a model's session. Raises DataError for a model with an encoder: its tokens stand beside more."""

    def __init__(self, model: Model) -> None:
        if model.manifest.program.encoder is not None:
            raise DataError("a model with an encoder cannot be evaluated on text alone")
        self._session = model.loaded.session

    @property
    def vocabulary_size(self) -> int:
        return self._session.vocabulary_size

    @property
    def context_length(self) -> int:
        return self._session.context_length

    def blocks(self, rows: Ids, size: int) -> Iterator[Logits]:
        """See `LanguageModel`: the rows' keys and values go through a cache, as when text is generated."""
        decoder = Decoder(KVCache(self._session, *rows.shape))
        for first in range(0, rows.shape[1], size):
            ids = np.ascontiguousarray(rows[:, first : first + size])
            lengths = np.full(len(ids), ids.shape[1], dtype=np.int64)
            positions: Ids = np.tile(np.arange(ids.shape[1], dtype=np.int64), (len(ids), 1))
            yield decoder.step(ids, lengths, positions)
            decoder.cache.advance(lengths)
