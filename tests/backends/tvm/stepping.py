"""A decoder's artifact, run step by step as the reference interpreter is (`tests/backends/running.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from graphwright.runtime.artifact import open_artifact
from graphwright.runtime.cache import KVCache
from graphwright.runtime.decoder import Decoder
from graphwright.runtime.session import Session


class Stepping:
    """The artifact in a folder, over caches of `capacity` tokens for `batch` rows, on two threads."""

    def __init__(self, folder: Path, batch: int, capacity: int) -> None:
        self.cache = KVCache(Session(open_artifact(folder), threads=2), batch, capacity)
        self.decoder = Decoder(self.cache)

    def step(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        self.cache.lengths[:] = inputs["past_length"]
        return self.decoder.step(inputs["input_ids"], inputs["new_length"], inputs["logit_positions"]).copy()
