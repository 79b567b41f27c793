"""Numbers for reading."""

from graphwright.cli.output import count_text, size_text


def test_sizes_and_counts_for_reading() -> None:
    assert [size_text(n) for n in (0, 1023, 1024, 1536, 3 * 2**30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "3.0 GiB",
    ]
    assert [count_text(n) for n in (0, 999, 1000, 260_032, 1_235_814_400)] == [
        "0",
        "999",
        "1 thousand",
        "260 thousand",
        "1.24 billion",
    ]
