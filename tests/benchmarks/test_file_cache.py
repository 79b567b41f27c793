from pathlib import Path

import pytest

from benchmarks.file_cache import warm


def test_every_file_is_read_through_links_too(tmp_path: Path) -> None:
    (tmp_path / "build/deep").mkdir(parents=True)
    (tmp_path / "build/deep/weights").write_bytes(b"1")
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint/missing").symlink_to(tmp_path / "nowhere")
    warm(tmp_path / "build")
    (tmp_path / "build/checkpoint").symlink_to(tmp_path / "checkpoint")
    with pytest.raises(FileNotFoundError):
        warm(tmp_path / "build")
