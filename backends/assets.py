"""The files of a checkpoint that go along with its model."""

from pathlib import Path

from graphwright.ir.errors import UserError

GENERATION_FILE = "generation_config.json"
ASSETS = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", GENERATION_FILE, "config.json")


def asset_files(folder: str | Path | None) -> list[Path]:
    """Those of them that the folder of the checkpoint has. Raises `UserError` for what is not a folder."""
    if folder is None:
        return []
    if not Path(folder).is_dir():
        raise UserError(f"{folder} is not a folder; name the checkpoint's folder")
    return [path for path in (Path(folder) / name for name in ASSETS) if path.is_file()]
