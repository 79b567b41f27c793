"""Plans and kernels for GPUs as an artifact's program file states them."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from graphwright.runtime.artifact.strict import Count, Positive, Strict
from graphwright.runtime.errors import ArtifactError
from graphwright.runtime.validation import first_finding

FORMAT = 1


def _known_terms(terms: tuple[tuple[int | str, ...], ...]) -> tuple[tuple[int | str, ...], ...]:
    for term in terms:
        if not term or not isinstance(term[0], int) or not all(isinstance(each, str) for each in term[1:]):
            raise ValueError("a term of a size is a factor and names of dimensions")
    return terms


Size = Annotated[tuple[tuple[int | str, ...], ...], AfterValidator(_known_terms)]
"""A polynomial: of each term the factor, then the dimensions that it is multiplied by."""


def symbols_of(size: Size) -> set[str]:
    return {str(symbol) for _, *symbols in size for symbol in symbols}


def evaluated(size: Size, known: Mapping[str, int]) -> int:
    """The value of a size."""
    total = 0
    for factor, *symbols in size:
        term = int(factor)
        for symbol in symbols:
            term *= known[str(symbol)]
        total += term
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

    @model_validator(mode="after")
    def _check(self) -> Self:
        if sum(place is not None for place in (self.given, self.stored, self.slot)) != 1:
            raise ValueError("a buffer is one of given, stored and slot")
        return self


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
    """Bytes; the engine begins each at a multiple of its `ALIGNMENT`."""
    launches: tuple[Launch, ...]

    @model_validator(mode="after")
    def _check(self) -> Self:
        places = [place for launch in self.launches for place in launch.buffers]
        if any(place.slot is not None and place.slot >= len(self.slots) for place in places):
            raise ValueError("a launch uses a slot that is not there")
        if any(each.kind == "floordiv" and each.second == () for each in self.definitions.values()):
            raise ValueError("a size is divided by nothing")
        return self

    def unknown_size(self, dimensions: Iterable[str]) -> str | None:
        """A name in a size that is neither a dimension nor defined before, None where all are known."""
        known = set(dimensions)
        for name, definition in self.definitions.items():
            if unknown := (symbols_of(definition.first) | symbols_of(definition.second)) - known:
                return min(unknown)
            known.add(name)
        sizes = [*self.slots, *(size for launch in self.launches for size in (launch.programs, *launch.sizes))]
        return next((min(unknown) for size in sizes if (unknown := symbols_of(size) - known)), None)


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
    fills: tuple[Launch, ...] = ()
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
    weight_bytes: Annotated[int, Field(ge=0)]
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
