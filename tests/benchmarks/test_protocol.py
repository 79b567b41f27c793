import io
import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.peers.protocol import serve_streams
from tests.benchmarks.fake_worker import FakeWorker


def answers(*requests: dict[str, Any], behaviour: str = "") -> list[dict[str, Any]]:
    stream = io.StringIO()
    serve_streams(
        FakeWorker(behaviour), io.StringIO("".join(json.dumps(request) + "\n" for request in requests)), stream
    )
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_every_request_has_one_answer_in_order() -> None:
    assert answers(
        {"command": "versions"},
        {"command": "prepare", "checkpoint": "/c", "folder": "/f", "options": {}},
        {"command": "load", "folder": "/c", "options": {}},
        {"command": "prefill", "prompt": [1, 2, 3]},
        {"command": "decode", "prompt": [1, 2], "continuation": [3, 4], "tokens_at_once": 1},
        {"command": "batch", "prompts": [[1, 2], [2, 2]], "continuations": [[3, 4], [3, 4]]},
    ) == [
        {"ok": True, "versions": {"fake": "1.0"}},
        {"ok": True, "folder": "/c"},
        {"ok": True},
        {"ok": True, "seconds": 0.003, "next_token": 6},
        {"ok": True, "seconds": [9.0, 0.01], "next_token": 3},
        {"ok": True, "seconds": [9.0, 0.015], "next_tokens": [3, 4]},
    ]


def test_logits_come_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "logits"
    request = {"command": "logits", "prompt": [1, 2], "continuation": [3], "file": str(file)}
    assert answers(request) == [{"ok": True}]
    assert file.read_bytes() == FakeWorker().logits([1, 2], [3])


def test_quit_ends_without_an_answer() -> None:
    assert answers({"command": "quit"}, {"command": "versions"}) == []


def test_an_error_is_one_line_and_the_worker_goes_on() -> None:
    failed, versions = answers(
        {"command": "load", "folder": "/c", "options": {}}, {"command": "versions"}, behaviour="fails"
    )
    assert failed == {"ok": False, "error": "ValueError: no such folder"}
    assert versions["ok"]


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"command": "fly"}, "ValueError: unknown command 'fly'"),
        ({"command": "prefill"}, "KeyError: 'prompt'"),
    ],
)
def test_a_malformed_request_is_refused(request_: dict[str, Any], error: str) -> None:
    assert answers(request_) == [{"ok": False, "error": error}]
