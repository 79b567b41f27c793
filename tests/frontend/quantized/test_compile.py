"""From a quantized checkpoint to a session of ONNX Runtime."""

from __future__ import annotations

from pathlib import Path

import torch

import graphwright
from tests.frontend.compare import tokens
from tests.frontend.quantized.checkpoints import write
from tests.frontend.quantized.test_gptq import settings, writer
from tests.tensors import listed


def test_a_checkpoint_runs_in_onnx_runtime(tmp_path: Path) -> None:
    model = write(tmp_path / "model", settings(sym=False), writer(sym=False))
    compiled = graphwright.compile(tmp_path / "model", output=tmp_path / "out")
    ids = tokens(1, 6)
    with torch.no_grad():
        best = model(ids).logits[0, -1].argmax().item()
    prompt: list[int] = listed(ids[0])
    assert compiled.generate(prompt, max_new_tokens=1) == [best]
