"""Artifacts of each backend with one file cut short: one line, and no crash, even where the manifest agrees."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import graphwright
from graphwright.runtime import ArtifactError, SessionError, load_function, open_artifact

X = np.ones((2, 64), dtype=np.float32)


@pytest.fixture(scope="module", params=["onnx", "tvm"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = torch.nn.Linear(64, 64).eval().requires_grad_(False)
    folder = tmp_path_factory.mktemp("artifacts") / request.param
    graphwright.compile_function(module, {"input": torch.as_tensor(X)}, backend=request.param, output=folder)
    return folder


def run(folder: Path, verify: bool) -> None:
    load_function(folder, threads=1, verify=verify)(input=X)


def cut(folder: Path, name: str, size: int) -> None:
    data = (folder / name).read_bytes()[:size]
    (folder / name).write_bytes(data)


def agree(folder: Path, name: str) -> None:
    """Let the manifest state what the file now is."""
    manifest = json.loads((folder / "manifest.json").read_text())
    data = (folder / name).read_bytes()
    manifest["files"][name] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_each_file_cut_short(folder: Path, tmp_path: Path) -> None:
    run(folder, True)
    for name, entry in open_artifact(folder).manifest.files.items():
        copy = Path(shutil.copytree(folder, tmp_path / "copy", dirs_exist_ok=True))
        for size in (entry.size - 1, entry.size // 2, 0):
            cut(copy, name, size)
            for verify in (True, False):
                with pytest.raises(ArtifactError, match=f"{name} has {size} bytes instead of {entry.size}"):
                    run(copy, verify)


def test_programs_and_weights_cut_short_where_the_manifest_agrees(folder: Path, tmp_path: Path) -> None:
    files = open_artifact(folder).manifest.files
    for name in files.keys() - {"lowered.gw", "plan.txt"}:
        size = files[name].size
        # Beyond its segments, a library has only what the system does not read.
        sizes = (size // 4, 64, 10, 0) if name.endswith(".so") else (size - 1, size // 2, 10, 0)
        for left in sizes:
            # Each in files of its own: a library that was loaded stays mapped.
            copy = Path(shutil.copytree(folder, tmp_path / f"{name} {left}"))
            cut(copy, name, left)
            agree(copy, name)
            for verify in (True, False):
                with pytest.raises(SessionError) as caught:
                    run(copy, verify)
                assert "\n" not in str(caught.value)
