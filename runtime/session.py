"""One loaded program, with its encoder if it has one, shared by any number of caches and threads."""

from typing import get_args

from graphwright.runtime.artifact import Artifact
from graphwright.runtime.cores import available_cores, check_threads
from graphwright.runtime.cpu_features import fitting_version
from graphwright.runtime.engines import Device, EngineFactory, Executable, Signature, start_engine
from graphwright.runtime.errors import SessionError


class Session:
    """An artifact's program, loaded by the engine of its backend; safe to use from several threads at once.

    `threads` is the number of cores to use (by default all physical cores this process may occupy), at most the CPUs
    that it may use. `engine` starts what runs the program, by default that of its backend. Of a program for several
    CPUs, `program` is the version for this one. Raises SessionError when the program does not fit this machine, the
    device, or its own manifest.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        threads: int | None = None,
        device: Device = "cpu",
        engine: EngineFactory | None = None,
    ) -> None:
        self.manifest = artifact.manifest
        check_threads(threads)
        if device not in get_args(Device):
            raise SessionError(f"device is {device!r}; it must be one of {', '.join(get_args(Device))}")
        self.program = fitting_version(artifact.manifest.program)
        self.engine = (engine or start_engine)(artifact, threads=threads or available_cores(), device=device)
        self.executable = self.engine.load(Signature.of_program(self.program))
        self.encoder: Executable | None = None
        if self.program.encoder is not None:
            self.encoder = self.engine.load(Signature.of_encoder(self.program.encoder))

    @property
    def vocabulary_size(self) -> int:
        """Of a decoder; a function has none."""
        size = self.manifest.model.vocabulary_size
        assert size is not None, "the manifest of a decoder is checked to have it"
        return size

    @property
    def context_length(self) -> int:
        """Of a decoder, in tokens; a function has none."""
        length = self.manifest.model.context_length
        assert length is not None, "the manifest of a decoder is checked to have it"
        return length
