"""A compiled plain function: named arrays in, named arrays out."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from graphwright.runtime.artifact import Manifest, TensorSpec, artifact_while_checked
from graphwright.runtime.element_types import ELEMENT_TYPES
from graphwright.runtime.engines import Array, Device, EngineFactory
from graphwright.runtime.errors import ArtifactError, GenerationError
from graphwright.runtime.session import Session

SEQUENCE = "sequence"
"""The dimension that the model's context length bounds."""


class Function:
    """A function artifact, callable with one keyword argument an input. Safe to use from several threads."""

    def __init__(self, manifest: Manifest, session: Session) -> None:
        self._manifest = manifest
        self.session = session

    @property
    def manifest(self) -> Manifest:
        return self._manifest

    def __call__(self, **inputs: npt.ArrayLike) -> dict[str, Array]:
        """The outputs by name. Arrays must have exactly the element types of the manifest and shapes that fit it.

        Raises GenerationError for inputs that do not fit, SessionError when the program fails.
        """
        return self.session.executable.run(self._check(inputs))

    def _check(self, inputs: dict[str, npt.ArrayLike]) -> dict[str, Array]:
        specs = self.manifest.program.inputs
        if inputs.keys() != specs.keys():
            raise GenerationError(f"the function takes the inputs {', '.join(specs)}; given: {', '.join(inputs)}")
        sizes: dict[str, int] = {}
        arrays = {name: _check_input(name, np.asarray(inputs[name]), spec, sizes) for name, spec in specs.items()}
        longest = self.manifest.model.context_length
        if longest is not None and sizes.get(SEQUENCE, 0) > longest:
            raise GenerationError(
                f"a sequence of {sizes[SEQUENCE]} exceeds the longest that the function takes: {longest}"
            )
        return arrays


def _check_input(name: str, array: Array, spec: TensorSpec, sizes: dict[str, int]) -> Array:
    """`array` if it fits; dimensions of one name must have one size, which `sizes` collects."""
    fits = array.dtype == ELEMENT_TYPES[spec.dtype].storage and array.ndim == len(spec.shape)
    if fits:
        pairs = zip(spec.shape, array.shape, strict=True)
        fits = all(size == (sizes.setdefault(d, size) if isinstance(d, str) else d) for d, size in pairs)
    if not fits:
        shape = ", ".join(str(dimension) for dimension in spec.shape)
        known = "".join(f", {dimension} = {size}" for dimension, size in sizes.items())
        raise GenerationError(
            f"input {name} must be {spec.dtype} [{shape}]{known}; it is {array.dtype} {list(array.shape)}"
        )
    return array


def load_function(
    path: str | Path,
    *,
    threads: int | None = None,
    device: Device = "cpu",
    verify: bool = True,
    engine: EngineFactory | None = None,
) -> Function:
    """Load the function artifact in the folder `path`; arguments and errors as for `load`."""
    with artifact_while_checked(path, verify=verify) as artifact:
        program = artifact.manifest.program
        if program.kind != "function":
            raise ArtifactError(f"{path} holds a language model, not a plain function; load it with load")
        if any(spec.dtype == "bfloat16" for spec in (*program.inputs.values(), *program.outputs.values())):
            raise ArtifactError(
                f"{path}: the function exchanges bfloat16, which numpy lacks; compile it with float32 ends"
            )
        return Function(artifact.manifest, Session(artifact, threads=threads, device=device, engine=engine))
