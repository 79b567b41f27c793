"""A backend of one's own compiles and generates, without a change to any file of the project."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import graphwright
from graphwright.ir import ops
from graphwright.runtime import SessionError
from tests.backends import toy_backend
from tests.backends.toy_backend import LIBRARY, Engine, Toy

STORIES = Path(__file__).parents[3] / "shared/models/stories260k"


def counted(kernel: Callable[..., Any], calls: set[str]) -> Callable[..., Any]:
    """The kernel, which leaves its name in `calls`."""

    def call(*arguments: Any) -> Any:
        calls.add(kernel.__name__)
        return kernel(*arguments)

    return call


@pytest.mark.skipif(not STORIES.is_dir(), reason="the shared model stories260k is not here")
def test_it_generates_the_published_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: set[str] = set()
    for name in ("linear", "rms_norm", "add"):
        monkeypatch.setattr(toy_backend, name, counted(getattr(toy_backend, name), calls))
    model = graphwright.compile(STORIES, backend=Toy(), output=tmp_path / "toy")
    text = model.generate("", max_new_tokens=40)
    assert len(text) > 100
    assert (STORIES / "EXPECTED.txt").read_text(encoding="utf-8").startswith(text)
    assert calls == {"linear", "rms_norm", "add"}
    assert [kernel.op for kernel in LIBRARY.kernels] == [ops.linear, ops.rms_norm, ops.add]
    assert graphwright.load(tmp_path / "toy", engine=Engine).generate("", max_new_tokens=40) == text
    with pytest.raises(SessionError, match="the program is for the backend 'toy'; this runtime runs 'onnx' and 'tvm'"):
        graphwright.load(tmp_path / "toy")


def test_it_is_short() -> None:
    assert len(Path(toy_backend.__file__).read_text(encoding="utf-8").splitlines()) < 80
