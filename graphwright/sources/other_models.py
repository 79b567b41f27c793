"""What people give that is not a model here: what it is, and what to give instead."""

import re
from pathlib import Path

FORMS = "a model is a checkpoint directory, a .gw file, a .pt2 archive, or file.py:factory"

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_FILES = (".gw", ".pt2", ".onnx", ".gguf", ".py", ".safetensors")
_BESIDE_CONFIGURATION = (".safetensors", ".bin", ".json")
_WEIGHTS = (".pt", ".pth", ".ckpt", ".pkl", ".npz", ".h5")


def absent_model(text: str) -> str:
    """What to say of a model that is not there: a name of a hub, or a path."""
    owner, _, name = text.rpartition("/")
    a_path = Path(owner).is_dir() if owner else Path(text).suffix in _FILES
    if a_path or not _HUB_NAME.fullmatch(text):
        return f"{text} does not exist; {FORMS}"
    return (
        f"{text} does not exist here, and nothing is downloaded: if it is a model on a hub, "
        f"`hf download {text} --local-dir {name}` first, then give the folder {name}"
    )


def other_file(text: str) -> str:
    """What to say of a file of another kind."""
    path = Path(text)
    suffix = path.suffix.lower()
    if suffix == ".gguf":
        return f"{text} is a GGUF file, which is not read yet: give the Hugging Face checkpoint that it was made from"
    if suffix == ".onnx":
        return f"{text} is an ONNX model already, which ONNX Runtime takes as it is: give the PyTorch model behind it"
    if suffix in _BESIDE_CONFIGURATION:
        return f"{text} is one file of a checkpoint: give its folder, {path.parent}, which must hold config.json too"
    if suffix in _WEIGHTS:
        return f"{text} holds weights without a model: write a file.py whose function makes the module and loads them"
    return f"{text} is a file of another kind; {FORMS}"


def other_folder(text: str) -> str:
    """What to say of a folder that is neither an artifact nor a checkpoint."""
    path = Path(text)
    snapshots = sorted(path.glob("snapshots/*/config.json"))
    if snapshots:
        return f"{text} is a download cache: give the folder of the snapshot in it, {snapshots[-1].parent}"
    inner = sorted(path.glob("*/config.json"))
    if inner:
        return f"{text} has no config.json; a folder in it has: give {inner[0].parent}"
    for suffix, name in ((".gguf", "a GGUF file"), (".onnx", "an ONNX model")):
        found = next(iter(sorted(path.glob(f"*{suffix}"))), None)
        if found is not None:
            return f"{text} holds {name} and no config.json: {other_file(str(found))}"
    if any(path.glob("*.safetensors")) or any(path.glob("*.bin")):
        return f"{text} has weights and no config.json, which says what model they are for: copy it from the checkpoint"
    return f"{text} is neither an artifact (no manifest.json) nor a checkpoint (no config.json)"
