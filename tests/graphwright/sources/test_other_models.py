"""What people give that is no model here, and where they are pointed."""

from pathlib import Path

import pytest

from graphwright.errors import UsageError
from graphwright.sources.models import resolve


def refusal(model: Path | str) -> str:
    with pytest.raises(UsageError) as caught:
        resolve(str(model))
    return str(caught.value)


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()


@pytest.mark.parametrize("name", ["gpt2", "meta-llama/Llama-3.2-1B", "Qwen/Qwen2.5-0.5B-Instruct"])
def test_the_name_of_a_model_on_a_hub(name: str) -> None:
    folder = name.rpartition("/")[2]
    message = refusal(name)
    assert message.startswith(f"{name} does not exist here, and nothing is downloaded")
    assert f"`hf download {name} --local-dir {folder}` first" in message


@pytest.mark.parametrize("path", ["models/absent", "./gpt2", "a/b/c", "/absent", "absent.gw", "absent.pt2", "~/gpt2"])
def test_a_path_is_no_name_of_a_hub(path: str) -> None:
    message = refusal(path)
    assert message.startswith(f"{path} does not exist; a model is ")
    assert "hf download" not in message


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ("model.gguf", "is a GGUF file, which is not read yet"),
        ("model.onnx", "is an ONNX model already"),
        ("models/model.safetensors", "is one file of a checkpoint: give its folder, models,"),
        ("models/config.json", "is one file of a checkpoint: give its folder, models,"),
        ("models/pytorch_model.bin", "is one file of a checkpoint: give its folder, models,"),
        ("model.pt", "holds weights without a model"),
        ("model.ckpt", "holds weights without a model"),
        ("model.tar", "is a file of another kind"),
    ],
)
def test_files(file: str, part: str) -> None:
    Path(file).write_bytes(b"")
    assert part in refusal(file)


@pytest.mark.parametrize(
    ("files", "part"),
    [
        (
            ["snapshots/abc/config.json"],
            "is a download cache: give the folder of the snapshot in it, models/snapshots/abc",
        ),
        (["small/config.json", "small/model.safetensors"], "a folder in it has: give models/small"),
        (["model-q4_k_m.gguf"], "holds a GGUF file and no config.json"),
        (["model.onnx", "model.onnx.data"], "holds an ONNX model and no config.json"),
        (["model.safetensors"], "has weights and no config.json"),
        (["notes.txt"], "is neither an artifact (no manifest.json) nor a checkpoint (no config.json)"),
    ],
)
def test_folders(files: list[str], part: str) -> None:
    for file in files:
        path = Path("models", file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    assert part in refusal("models")
