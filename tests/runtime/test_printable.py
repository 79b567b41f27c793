"""Nothing from a file steers a terminal."""

import pytest

from graphwright.runtime import ArtifactError
from graphwright.runtime.printable import for_terminal, printable, printable_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢字 😀 «»", "plain é 漢字 😀 «»"),
        ("\x1b[2J\x07\x9b1m\x7f\x00", r"\x1b[2J\x07\x9b1m\x7f\x00"),
        ("a\u202eb\u2066c\u200b\ufeff", r"a\u202eb\u2066c\u200b\ufeff"),
        ("half \udce9", r"half \udce9"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_what_has_no_shape_is_spelt_out(text: str, shown: str) -> None:
    assert printable(text) == printable_line(text) == shown


def test_lines_and_tabs() -> None:
    assert printable("a\n\tb\r\n") == "a\n\tb\\r\n"
    assert printable_line(" a\n\tb\r\n\x1c\u2028c ") == "a b c"


def test_generated_text_keeps_what_scripts_need() -> None:
    text = "👩\u200d🚀 \u05d0\u200f \u2067x\u2069\n\t"
    assert for_terminal(text) == text
    assert for_terminal("a\rb\x1b]52;c;x\x07\x9b\b") == r"a\rb\x1b]52;c;x\x07\x9b\x08"


def test_errors_are_one_printable_line() -> None:
    assert str(ArtifactError("name \x1b[31mred\n\nend\u202e")) == r"name \x1b[31mred end\u202e"
