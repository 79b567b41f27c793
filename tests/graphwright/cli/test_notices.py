"""Notices on the command line."""

import warnings
from collections.abc import Callable

import pytest

from graphwright import ir, runtime
from graphwright.cli.notices import notices_as_lines
from graphwright.runtime import notices as runtime_notices


def in_the_package(notify: Callable[[str], None]) -> Callable[[str], None]:
    """`notify` as a module of the package calls it."""
    names = {"__name__": "graphwright.frontend.something", "notify": notify}
    exec("def call(message):\n    notify(message)", names)
    call = names["call"]
    assert callable(call)
    return call


@pytest.mark.parametrize("notify", [ir.notify, runtime_notices.notify])
def test_a_notice_is_one_line_and_printed_once(
    notify: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    give = in_the_package(notify)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with notices_as_lines():
            give("model.safetensors is taken,\nnot the index")
            give("model.safetensors is taken, not the index")
            give("config.json is ignored")
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [
        "note: model.safetensors is taken, not the index",
        "note: config.json is ignored",
    ]
    assert printed.out == ""


def test_other_warnings_stay_what_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(UserWarning, match="^something else$"), notices_as_lines():
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("notify", "kind"), [(ir.notify, ir.Notice), (runtime_notices.notify, runtime.Notice)])
def test_in_python_a_notice_is_a_warning_from_the_package(notify: Callable[[str], None], kind: type[Warning]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        in_the_package(notify)("two files")
    assert [(w.category, str(w.message), w.filename) for w in caught] == [(kind, "two files", "<string>")]
