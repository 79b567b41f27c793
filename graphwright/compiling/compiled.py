"""A compiled model or function in memory: the runtime's, with the compiler's knowledge of it."""

from __future__ import annotations

import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from graphwright.errors import UsageError
from graphwright.runtime import Function, Manifest, Model, load, load_function
from graphwright.runtime.artifact import LOWERED_FILE, MANIFEST_FILE, AtomicFolder, is_artifact

if TYPE_CHECKING:
    from graphwright.compiling.report import CompilationReport
    from graphwright.ir import Program
    from graphwright.runtime.engines import EngineFactory


class Compiled:
    """An artifact's folder with what the compiler knows of it.

    `report` says what the compilation did; it is None for what was loaded.
    """

    folder: Path
    report: CompilationReport | None

    @property
    def manifest(self) -> Manifest:
        """Of the artifact; the runtime's class has it."""
        raise NotImplementedError

    @cached_property
    def graph(self) -> Program:
        """The lowered program, in the backend's own ops; its weights lie in the artifact.

        Raises UsageError when the artifact was written without it, TextError when its text is none.
        """
        from graphwright.ir import read_program

        if LOWERED_FILE not in self.manifest.files:
            raise UsageError(f"{self.folder} has no {LOWERED_FILE}: it was written without its program's text")
        return read_program(self.folder / LOWERED_FILE)

    def save(self, path: str | Path) -> None:
        """Copy the artifact to the folder `path`, whole or not at all; an artifact there is replaced.

        Raises ArtifactError when something else stands there or the place cannot be written.
        """
        with AtomicFolder(path, is_artifact) as target:
            for name in (MANIFEST_FILE, *self.manifest.files):
                copy = target.path / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.folder / name, copy)
            target.commit()


class CompiledModel(Model, Compiled):
    """What `graphwright.compile` and `graphwright.load` return: generates text, and can be saved and looked into."""

    def __init__(
        self,
        folder: Path,
        *,
        report: CompilationReport | None = None,
        threads: int | None = None,
        verify: bool = True,
        engine: EngineFactory | None = None,
    ) -> None:
        super().__init__(load(folder, threads=threads, verify=verify, engine=engine).loaded)
        self.folder = folder
        self.report = report


class CompiledFunction(Function, Compiled):
    """What `graphwright.compile_function` and `graphwright.load_function` return: named arrays in, named arrays out."""

    def __init__(
        self,
        folder: Path,
        *,
        report: CompilationReport | None = None,
        threads: int | None = None,
        verify: bool = True,
        engine: EngineFactory | None = None,
    ) -> None:
        loaded = load_function(folder, threads=threads, verify=verify, engine=engine)
        super().__init__(loaded.manifest, loaded.session)
        self.folder = folder
        self.report = report
