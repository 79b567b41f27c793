"""The same models through the ONNX backend: both dialects, run by the runtime over shared caches, against eager."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from graphwright.backends.onnx import build_artifact
from graphwright.runtime import Decoder, KVCache, Model, load
from tests.models.test_architectures import CHUNKS, LENGTHS, case, worst
from tests.models.zoo import CONFIGURATIONS


def continued(model: Model, rows: list[Tensor]) -> list[Tensor]:
    """Logits of every token of each row, in chunks; a row that has ended goes on with tokens that nobody looks at."""
    batch = len(rows)
    decoder = Decoder(KVCache(model.loaded.session, batch, 64))
    found: list[list[Tensor]] = [[] for _ in rows]
    past = [0] * batch
    for size in CHUNKS:
        real = [min(size, len(row) - p) for row, p in zip(rows, past, strict=True)]
        ids = torch.full((batch, size), 5)
        for i, (row, p, n) in enumerate(zip(rows, past, real, strict=True)):
            ids[i, : max(n, 0)] = row[p : p + max(n, 0)]
        new = np.array([max(n, 1) for n in real])
        positions = np.broadcast_to(np.arange(size), (batch, size)).copy()
        logits = torch.from_numpy(decoder.step(ids.numpy(), new, positions).copy())
        decoder.cache.advance(new)
        for i, n in enumerate(real):
            found[i].append(logits[i, : max(n, 0)])
            past[i] += max(n, 0)
    return [torch.cat(parts) for parts in found]


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_artifact_equals_eager(name: str, dialect: str, tmp_path: Path) -> None:
    it = case(name)
    build_artifact(it.program, tmp_path / "artifact", dialect=dialect)
    found = continued(load(tmp_path / "artifact", threads=1), it.rows)
    assert [len(f) for f in found] == list(LENGTHS)
    assert worst(found, it.exact) < it.bound
