"""What a backend is: one object that its folder exports, and all that the rest of the project knows of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from graphwright.backends.kernel_library import KernelLibrary
    from graphwright.ir.program import Program
    from graphwright.passes.base import Pass
    from graphwright.runtime.artifact import Manifest


@dataclass(frozen=True)
class Companions:
    """What an artifact holds beside the program.

    `assets` is the checkpoint's folder, whose tokenizer and configuration files go along. `generation` is the text of
    a decoder's `generation_config.json`, where it says more than that folder's.
    """

    assets: str | Path | None = None
    generation: str | None = None


NO_COMPANIONS = Companions()


@dataclass(frozen=True)
class BackendOptions:
    """The options of a backend, each a field made by `option`. This class is a backend without any."""


def option(default: Any, help: str, values: Sequence[str] = ()) -> Any:
    """A field of `BackendOptions`: an argument of `graphwright.compile` and an option of `graphwright compile`.

    The field is a str, an int or a bool. `values` are all that it may be; without them anything of the type may.
    """
    return field(default=default, metadata={"help": help, "values": tuple(values)})


def option_fields(backend: Backend) -> tuple[Field[Any], ...]:
    """The options of a backend, in order."""
    return fields(backend.options)


class Backend(ABC):
    """Compiles lowered programs to artifacts. Importing its module imports nothing that it needs installed."""

    name: ClassVar[str]
    """What `--backend` and the manifest of an artifact call it."""
    summary: ClassVar[str]
    """A few words for the help."""
    targets: ClassVar[tuple[str, ...]] = ("cpu",)
    """The machines that it compiles for; the pipeline of a target's name comes before `lowering`."""
    options: ClassVar[type[BackendOptions]] = BackendOptions
    machines: ClassVar[str] = ""
    """The option for what stands behind the colon of a target, as in `cuda:sm_90`; empty for a backend without one."""
    engine: ClassVar[Callable[..., Any] | None] = None
    """What runs its artifacts, as `graphwright.load` takes it; None for one that the runtime knows by name."""

    def pipeline(self, target: str) -> str:
        """What the pipeline of a target and `lowering` together are called: `cpu-onnx`, or the name that both have."""
        return target if self.name == target else f"{target}-{self.name}"

    def missing(self) -> str | None:
        """What this machine lacks to build for the backend, in a line that says what to do; None if nothing."""
        return None

    def for_target(self, options: BackendOptions, target: str) -> BackendOptions:
        """The options with what one of `targets` settles of them. Raises `UserError` for what is not for it."""
        return options

    def multiplies_bf16(self, options: BackendOptions) -> bool:
        """Whether linear layers are computed in bf16 when that is asked for, as the pass `bf16-products` does it."""
        return False

    @abstractmethod
    def lowering(self, options: BackendOptions, *, decoder: bool) -> Sequence[Pass]:
        """The passes from a `decoder`, or a plain function, down to the ops that `build` takes."""

    def library(self) -> KernelLibrary | None:
        """The kernels that passes ask which ops they take; None for a backend without kernels of its own."""
        return None

    @abstractmethod
    def build(self, program: Program, folder: Path, companions: Companions, options: BackendOptions) -> Manifest:
        """Writes the artifact of a lowered program, which stays as it is. The folder appears whole or not at all.

        Raises `UserError` with what to do, and the runtime's `ArtifactError`.
        """

    def plan_text(self, program: Program) -> str | None:
        """The launch plans of a lowered program as text; None for a backend that makes none. Raises `UserError`."""
        return None
