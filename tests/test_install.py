"""A wheel holds the whole package: the folders at the root are linked into it."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.runtime.native_decoder import write_native_artifact
from tests.runtime.program import TinyDecoder

ROOT = Path(__file__).parent.parent
PROGRAM = """
import graphwright.ir, graphwright.runtime
from graphwright.ir import ops, parse_program, print_program
text = 'program "p"\\n\\ngraph g(%x: f32[S]) {\\n  %0 = exp(%x) : f32[S]\\n  return y=%0\\n}\\n'
assert print_program(parse_program(text)) == text
print(graphwright.ir.__file__)
"""

GENERATE = """
import sys
sys.modules |= dict.fromkeys(("tvm", "tvm_ffi", "onnxruntime", "onnx", "torch", "transformers", "triton"))
from graphwright.runtime import load
print(load(sys.argv[1], threads=2).generate([1, 2], max_new_tokens=5))
"""


def run(*command: str, cwd: Path, **environment: str) -> str:
    result = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    # What setuptools warns of, folders of data that look like packages, is nothing that a newcomer can act on.
    assert "BuildBackendWarning" not in result.stderr
    return result.stdout


@pytest.mark.slow
def test_a_wheel_installs_and_runs_from_anywhere(tmp_path: Path) -> None:
    folders = ("graphwright", "ir", "frontend", "passes", "backends", "runtime")
    # Built from links in a folder of its own: the build leaves its droppings there, not in the checkout.
    source, wheels, target, elsewhere = (tmp_path / name for name in ("source", "wheels", "target", "elsewhere"))
    for folder in (source, elsewhere):
        folder.mkdir()
    for name in (*folders, "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(source), cwd=elsewhere)
    (wheel,) = wheels.glob("graphwright-*.whl")

    packed = {Path(name) for name in zipfile.ZipFile(wheel).namelist()}
    for folder in folders:
        inside = Path() if folder == "graphwright" else Path("graphwright")
        assert {inside / path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.py")} <= packed
    assert Path("graphwright/py.typed") in packed
    assert {Path("graphwright") / path.relative_to(ROOT) for path in (ROOT / "backends").rglob("*.c")} <= packed
    templates = ROOT / "graphwright" / "reporting" / "html" / "templates"
    assert {path.relative_to(ROOT) for path in templates.iterdir()} <= packed
    assert not [path for path in packed if path.parts[0] in ("tests", "benchmarks", "examples", "docs")]

    run(*pip, "install", "--no-deps", "--target", str(target), str(wheel), cwd=elsewhere)
    # The path comes before the hook of an editable install of the same name.
    where = run(sys.executable, "-c", PROGRAM, cwd=elsewhere, PYTHONPATH=str(target))
    assert Path(where.strip()).is_relative_to(target)
    tiny = TinyDecoder()
    artifact = write_native_artifact(tmp_path / "tiny", tiny)
    text = run(sys.executable, "-c", GENERATE, str(artifact), cwd=elsewhere, PYTHONPATH=str(target))
    assert text.strip() == str(tiny.greedy([1, 2], 5))
