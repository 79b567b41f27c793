"""Writing an artifact folder: all of it, with its hashes, or nothing."""

from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import ValidationError

from graphwright.runtime.artifact.folder import AtomicFolder
from graphwright.runtime.artifact.hashing import hash_files
from graphwright.runtime.artifact.manifest import MANIFEST_FILE, Manifest, ModelInfo, Program
from graphwright.runtime.artifact.paths import is_plain_name
from graphwright.runtime.artifact.reader import is_artifact
from graphwright.runtime.errors import ArtifactError
from graphwright.runtime.files import TABLES, read_bytes
from graphwright.runtime.validation import first_finding


class ArtifactWriter:
    """Collects files in `folder`, then `commit` hashes them, writes the manifest and moves the folder into place.

    Leaving the `with` block without a commit leaves nothing behind. An existing artifact is replaced, any other
    folder with content refused. Raises ArtifactError.

        with ArtifactWriter("out/model") as writer:
            (writer.folder / "model.onnx").write_bytes(program)
            writer.add_text("config.json", config)
            writer.commit(producer="graphwright 0.1.0", model=ModelInfo(…), program=Program(…))
    """

    def __init__(self, path: str | Path) -> None:
        self._atomic = AtomicFolder(path, is_artifact)

    @property
    def folder(self) -> Path:
        """Where the files go until the commit."""
        return self._atomic.path

    def __enter__(self) -> Self:
        self._atomic.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._atomic.__exit__(kind, error, traceback)

    def add_text(self, name: str, text: str) -> None:
        """Write `text` as UTF-8 with its line ends as they are."""
        self.add_bytes(name, text.encode())

    def add_bytes(self, name: str, data: bytes) -> None:
        self._place(name).write_bytes(data)

    def add_copy(self, source: str | Path, name: str | None = None) -> None:
        """Copy the content of the file `source`, links followed, under `name` (by default its own).

        Raises ArtifactError for what is not a regular file, or larger than a tokenizer is.
        """
        source = Path(source)
        try:
            content = read_bytes(source, TABLES)
        except OSError as error:
            raise ArtifactError(f"{source} cannot be copied: {error.strerror}") from None
        self.add_bytes(name or source.name, content)

    def commit(self, *, producer: str, model: ModelInfo, program: Program) -> Manifest:
        """Finish the artifact and return its manifest; the files are now in their final place."""
        files = sorted(path for path in self.folder.rglob("*") if not path.is_dir() or path.is_symlink())
        assert not any(path.is_symlink() for path in files), "an artifact holds files, not links"
        names = [path.relative_to(self.folder).as_posix() for path in files]
        entries = dict(zip(names, hash_files(files), strict=True))
        try:
            manifest = Manifest(producer=producer, model=model, program=program, files=entries)
        except ValidationError as error:
            problem = first_finding(error, Manifest)
            raise ArtifactError(f"{self._atomic.target}: the manifest is not valid: {problem}") from None
        (self.folder / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
        self._atomic.commit()
        return manifest

    def _place(self, name: str) -> Path:
        if not is_plain_name(name) or name == MANIFEST_FILE:
            raise ArtifactError(f"{self._atomic.target}: {name!r} is not a plain name inside the folder")
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
