"""TVM as the backend needs it, and what the rest of the process sees of that."""

from __future__ import annotations

import inspect

import pytest

from graphwright.backends.tvm.cpu import GENERIC
from graphwright.backends.tvm.kernels.norms import rms_norm
from graphwright.backends.tvm.tvm_library import library_expression, tvm
from tests.backends.tvm.kernels.standalone import written


def test_only_tvm_has_another_inspect(monkeypatch: pytest.MonkeyPatch) -> None:
    assert inspect.stack()[0].function == "test_only_tvm_has_another_inspect"
    assert {inspect.stack.__module__, inspect.getouterframes.__module__} == {"inspect"}

    def refuse(*arguments: object) -> None:
        raise AssertionError("it takes a second in a process with many modules")

    monkeypatch.setattr(inspect, "stack", refuse)
    monkeypatch.setattr(inspect, "getouterframes", refuse)
    kernel = written("rms_norm", rms_norm, GENERIC, tokens=1, size=8, epsilon=1e-5)
    assert len(kernel.params) == 3


def test_expressions_of_scripts_mean_what_the_library_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    def written_text() -> str:
        return written("rms_norm", rms_norm, GENERIC, tokens=3, size=40, epsilon=1e-5).script()

    quick = written_text()
    monkeypatch.setattr(tvm.script.parser.core.evaluator, "_eval_expr", library_expression)
    assert quick == written_text()
