"""What is given in place of a wheel of onnxruntime-gpu is refused in a line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from benchmarks.onnxruntime_kernels import LIBRARY, main, unpacked


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.whl", "there is no "),
        ("text.whl", f"text.whl is no wheel of onnxruntime-gpu, which has {LIBRARY}"),
        ("other.whl", f"other.whl is no wheel of onnxruntime-gpu, which has {LIBRARY}"),
        (".", f"has no {LIBRARY}: no wheel of onnxruntime-gpu is unpacked there"),
    ],
)
def test_no_wheel(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.whl").write_text("no archive")
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other/__init__.py", "")
    monkeypatch.setattr("sys.argv", ["onnxruntime_kernels", str(tmp_path / name)])
    with pytest.raises(SystemExit) as refused:
        main()
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_wheel_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        archive.writestr(LIBRARY, "")
    folder = unpacked(tmp_path / "a.whl", tmp_path / "wheel")
    assert (folder / LIBRARY).is_file()
    assert unpacked(folder, tmp_path / "other") == folder
