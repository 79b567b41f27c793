"""Plans and kernels for GPUs as an artifact's program file states them."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator

from graphwright.runtime.artifact.strict import Count, Positive, Strict
from graphwright.runtime.errors import ArtifactError
from graphwright.runtime.validation import first_finding

FORMAT = 1
Size = tuple[tuple[int | str, ...], ...]
"""A polynomial: of each term the factor, then the dimensions that it is multiplied by."""


def evaluated(size: Size, known: Mapping[str, int]) -> int:
    """The value of a size."""
    total = 0
    for factor, *symbols in size:
        assert isinstance(factor, int)
        for symbol in symbols:
            factor *= known[str(symbol)]
        total += factor
    return total


class Definition(Strict):
    """A size that is no polynomial."""

    kind: Literal["floordiv", "min", "max"]
    first: Size
    second: Size

    def evaluated(self, known: Mapping[str, int]) -> int:
        first, second = evaluated(self.first, known), evaluated(self.second, known)
        if self.kind == "floordiv":
            return first // second
        return min(first, second) if self.kind == "min" else max(first, second)


class Kernel(Strict):
    """A function of machine code: where its module lies in the file of its target, and how it is launched."""

    offset: Count
    bytes: Positive
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    symbol: str
    threads: Annotated[int, Field(gt=0, le=1024)]
    shared: Count
    starts_early: bool
    parameters: tuple[Literal["pointer", "i32", "i64"], ...]
    scratch_pointers: Annotated[int, Field(ge=0, le=2)]


class Place(Strict):
    """A buffer: a tensor of the caller's by name, an offset in the weights file, or a slot of the workspace."""

    given: str | None = None
    stored: Annotated[int, Field(ge=0)] | None = None
    slot: Count | None = None


class Launch(Strict):
    """So many programs of a kernel: blocks of threads."""

    kernel: str
    programs: Size
    buffers: tuple[Place, ...]
    sizes: tuple[Size, ...]


class PlannedGraph(Strict):
    """One phase."""

    definitions: dict[str, Definition]
    slots: tuple[Size, ...]
    """Bytes, before they are rounded up to `SLOT_ALIGNMENT`."""
    launches: tuple[Launch, ...]


class CompiledBy(Strict):
    """What made the machine code of a target."""

    triton: str
    ptxas: str
    cuda: Positive
    """The version that a driver must have to load it, as `cuDriverGetVersion` tells it: 12090 for CUDA 12.9."""
    driver: Positive
    """The first branch of drivers that has it, 575 for CUDA 12.9: for people."""


class Target(Strict):
    """All phases for one architecture. `compiled_by` is None for the emulator, which needs no machine code."""

    compiled_by: CompiledBy | None
    kernels: dict[str, Kernel]
    fills: tuple[Launch, ...]
    """What writes the weights that lie behind the end of the weights file, once."""
    graphs: dict[str, PlannedGraph]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for launch in (*self.fills, *(each for graph in self.graphs.values() for each in graph.launches)):
            kernel = self.kernels.get(launch.kernel)
            if kernel is None:
                raise ValueError(f"a launch of kernel {launch.kernel}, which is not there")
            pointers = kernel.parameters.count("pointer")
            if (len(launch.buffers), len(launch.sizes)) != (pointers, len(kernel.parameters) - pointers):
                raise ValueError(f"a launch of kernel {launch.kernel} with other arguments than it takes")
        if any(place.stored is None for launch in self.fills for place in launch.buffers):
            raise ValueError("what fills weights writes something else")
        return self


class CudaProgram(Strict):
    """The program file: a target for each architecture, by names such as `sm_90`."""

    format: int
    weight_bytes: Count
    """Of all weights: those of the weights file, and what is filled behind its end."""
    targets: dict[str, Target]


def read_program(text: str, path: str) -> CudaProgram:
    """The program of a file. Raises ArtifactError."""
    try:
        program = CudaProgram.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(f"{path} is damaged: {first_finding(error, CudaProgram)}; compile again") from None
    if program.format != FORMAT:
        raise ArtifactError(f"{path} is of format {program.format}, this runtime reads {FORMAT}: compile again")
    return program
