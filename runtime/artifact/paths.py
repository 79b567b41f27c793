"""Names of files inside an artifact: plain, relative, and never leading outside the folder."""

from pathlib import Path

from graphwright.runtime.errors import ArtifactError


def is_plain_name(name: str) -> bool:
    """Whether `name` is a relative path of ordinary components joined by `/` on every platform."""
    if "\\" in name or ":" in name or any(ord(character) < 32 for character in name):
        return False
    return all(part not in ("", ".", "..") for part in name.split("/"))


def resolve_inside(folder: Path, name: str) -> Path:
    """The regular file `name` of `folder`, links followed.

    Raises ArtifactError when the name is not plain, when the file is missing or not a regular file, or when a link
    on the way leads outside the folder.
    """
    if not is_plain_name(name):
        raise ArtifactError(f"{folder}: the manifest names {name!r}, which is not a plain name inside the folder")
    try:
        resolved = (folder / name).resolve(strict=True)
        inside = resolved.is_relative_to(folder.resolve(strict=True))
    except (OSError, RuntimeError):
        raise ArtifactError(f"{folder}: {name} is missing; copy or compile the artifact again") from None
    if not inside:
        raise ArtifactError(f"{folder}: {name} is a link that leads outside the folder; copy the file itself into it")
    if not resolved.is_file():
        raise ArtifactError(f"{folder}: {name} is not a regular file; copy or compile the artifact again")
    return resolved
