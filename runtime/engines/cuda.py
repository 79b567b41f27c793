"""Programs of launch plans on a GPU, by the driver alone: machine code, plans, and one file of weights."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

from graphwright.runtime.artifact import Artifact
from graphwright.runtime.cuda_api import Cuda, Launch, NoDeviceError, argument_sizes, argument_types, cuda, cuda_version
from graphwright.runtime.element_types import ElementTypeName
from graphwright.runtime.engines.cuda_program import PlannedGraph, Target, evaluated, read_program
from graphwright.runtime.engines.cuda_values import CudaValue, HostValue, bucket
from graphwright.runtime.engines.engine import Array, Device, Signature, Value
from graphwright.runtime.errors import ArtifactError, ContextError, SessionError
from graphwright.runtime.progress import tell

ALIGNMENT = 256
"""Bytes: every slot of the workspace begins at a multiple of this."""
BATCH = "batch"
"""The dimension of rows."""
CHUNK = 1 << 24
"""Bytes of weights that are copied at a time, while the next ones are read from the file."""


class CudaEngine:
    """Runs on the first device; weights and machine code are loaded once for all that the artifact executes."""

    on_host = False

    def __init__(self, artifact: Artifact, *, threads: int, device: Device) -> None:
        self._artifact = artifact
        self.driver = _driver(artifact)
        program = artifact.manifest.program
        path = artifact.path(program.file)
        read = read_program(artifact.read_text(program.file), str(path))
        targets = read.targets
        if self.driver.architecture not in targets:
            known = ", ".join(name for name in targets if name != "emulated")
            raise SessionError(
                f"{artifact.folder} is compiled for {known}, the GPU here is {self.driver.architecture}: compile it "
                f"with --target cuda:{self.driver.architecture}"
            )
        self.target: Target = targets[self.driver.architecture]
        check_driver(self.target, self.driver.version, str(artifact.folder))
        assert program.weights is not None, "the manifest of this backend is checked to have it"
        self._weight_bytes = read.weight_bytes
        self._check_room()
        self.functions = self._load_kernels(f"{self.driver.architecture}.kernels")
        self.weights = self._load_weights(program.weights)

    def _load_kernels(self, file: str) -> dict[str, Any]:
        self._code = self._artifact.path(file).read_bytes()
        functions: dict[str, Any] = {}
        for name, kernel in self.target.kernels.items():
            image = self._code[kernel.offset : kernel.offset + kernel.bytes]
            if len(image) != kernel.bytes:
                raise ArtifactError(f"{self._artifact.path(file)} ends before kernel {name}: compile again")
            if sha256(image).hexdigest() != kernel.sha256:
                raise ArtifactError(f"{self._artifact.path(file)}: the code of kernel {name} is damaged: compile again")
            with self.driver.active():
                function = self.driver.function(self.driver.module(image), kernel.symbol, kernel.shared)
                found = self.driver.parameter_sizes(function)
            wanted = argument_sizes(argument_types(kernel.parameters, kernel.scratch_pointers))
            if found != wanted:
                raise ArtifactError(
                    f"{self._artifact.path(file)}: kernel {name} takes parameters of {found} bytes, the plan gives "
                    f"{wanted}: compile again"
                )
            functions[name] = function
        return functions

    def _check_room(self) -> None:
        """Raises SessionError before anything is read where the weights do not fit."""
        size, (left, _) = self._weight_bytes, self.driver.memory()
        if size > left:
            raise SessionError(
                f"the weights of {self._artifact.folder} need {size / 2**30:.2f} GiB, the GPU has {left / 2**30:.2f} "
                "GiB left; quantize the model, or end what else uses the GPU"
            )

    def _load_weights(self, file: str) -> CudaValue:
        """A chunk is on its way to the device while the next one is read from the file; the rest is filled there."""
        path, driver = self._artifact.path(file), self.driver
        size = path.stat().st_size
        if size > self._weight_bytes:
            raise ArtifactError(f"{path} has {size} bytes, the program knows {self._weight_bytes}: compile again")
        value = CudaValue(driver, (self._weight_bytes,), "uint8", "the weights", constant=True)
        mapped = np.memmap(path, np.uint8, "r") if size else np.empty(0, np.uint8)
        with driver.active(), driver.pinned(max(1, min(size, CHUNK)), 2) as buffers:
            for number, begin in enumerate(range(0, size, CHUNK)):
                chunk, buffer = mapped[begin : begin + CHUNK], buffers[number % 2]
                buffer.wait()
                np.copyto(buffer.array[: len(chunk)], chunk)
                driver.send(value.address + begin, buffer, len(chunk))
                tell("loading weights", begin + len(chunk), size)
            for launch in self._fills(value.address):
                driver.launch(launch)
        return value

    def _fills(self, weights: int) -> list[Launch]:
        made: list[Launch] = []
        for launch in self.target.fills:
            values = [weights + (place.stored or 0) for place in launch.buffers]
            values += [evaluated(size, {}) for size in launch.sizes]
            made.append(self.launch(launch.kernel, evaluated(launch.programs, {}), values))
        return made

    def launch(self, name: str, programs: int, values: list[int]) -> Launch:
        """So many programs of a kernel with these arguments."""
        kernel = self.target.kernels[name]
        types = argument_types(kernel.parameters, kernel.scratch_pointers)
        given = (*values, *[0] * kernel.scratch_pointers)
        return Launch(self.functions[name], programs, kernel.threads, kernel.shared, kernel.starts_early, given, types)

    def check_room(self, size: int, what: str) -> None:
        """See `Engine.check_room`."""
        left, _ = self.driver.memory()
        if size > left:
            raise ContextError(
                f"{what} needs {size / 2**30:.2f} GiB, the GPU has {left / 2**30:.2f} GiB left; use a smaller "
                "max_context or batch"
            )

    def view(self, array: npt.NDArray[np.generic], dtype: ElementTypeName) -> HostValue:
        return HostValue(array, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: ElementTypeName, name: str) -> CudaValue:
        value = CudaValue(self.driver, shape, dtype, name, batched=True)
        value.clear()
        return value

    def place(self, array: npt.NDArray[np.generic], dtype: ElementTypeName) -> CudaValue:
        value = CudaValue(self.driver, array.shape, dtype, "a tensor")
        value.update_inplace(array)
        return value

    def load(self, signature: Signature) -> "CudaExecutable":
        missing = [spec.name for spec in signature.functions if spec.name not in self.target.graphs]
        if missing:
            raise SessionError(f"{signature.file} has no graph {missing[0]}, which the manifest names; compile again")
        for spec in signature.functions:
            graph = self.target.graphs[spec.name]
            unknown = graph.unknown_size(signature.dimensions)
            if unknown is not None:
                raise ArtifactError(f"{signature.file}: graph {spec.name} has a size {unknown!r}; compile again")
            tensors = {
                *signature.inputs,
                *signature.outputs,
                *(name for k in signature.kept for name in (k.input, k.output)),
            }
            given = {place.given for launch in graph.launches for place in launch.buffers if place.given is not None}
            if strange := given - tensors:
                raise ArtifactError(f"{signature.file}: graph {spec.name} uses {min(strange)!r}; compile again")
        return CudaExecutable(self, signature)


def _driver(artifact: Artifact) -> Cuda:
    try:
        return cuda()
    except NoDeviceError as error:
        raise SessionError(
            f"{error}; `graphwright generate {artifact.folder} --device emulator` runs it without one, slowly"
        ) from None


def check_driver(target: Target, version: int, folder: str) -> None:
    """Raises SessionError where the driver, of CUDA `version` as it tells itself, is too old for the kernels."""
    needed = target.compiled_by
    if needed is not None and version < needed.cuda:
        raise SessionError(
            f"the kernels of {folder} need a driver for CUDA {cuda_version(needed.cuda)}, the one here is for "
            f"{cuda_version(version)}: install NVIDIA's driver {needed.driver} or a later one"
        )


class CudaExecutable:
    """The graphs of a program."""

    def __init__(self, engine: CudaEngine, signature: Signature) -> None:
        self.engine, self.signature = engine, signature

    def calls(self, count: int) -> "Sequence[CudaCall]":
        return [CudaCall(self) for _ in range(count)]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return {name: value.numpy() for name, value in self.values(inputs).items()}

    def values(self, inputs: Mapping[str, Array]) -> dict[str, Value]:
        call = CudaCall(self)
        for name, array in inputs.items():
            call.give(name, HostValue(array, self.signature.inputs[name].dtype))
        sizes = call.sizes()
        results: dict[str, Value] = {}
        for name, spec in self.signature.outputs.items():
            shape = tuple(sizes[size] if isinstance(size, str) else size for size in spec.shape)
            results[name] = CudaValue(self.engine.driver, shape, spec.dtype, name)
            call.take(name, results[name])
        call.run()
        return results


class CudaCall:
    """A call whose arguments stay bound, chosen anew where a shape may have changed.

    A graph of fixed sizes is captured when it is first run with these arguments, and replayed until they change.
    """

    def __init__(self, executable: CudaExecutable) -> None:
        self._engine = executable.engine
        self._signature = executable.signature
        self._held: dict[str, CudaValue] = {}
        """What the program reads and writes, by the names of inputs and outputs."""
        self._sources: dict[str, HostValue] = {}
        self._targets: dict[str, HostValue] = {}
        self._workspace: CudaValue | None = None
        self._launches: list[Launch] | None = None
        self._captured: Any = None
        self.graph: str | None = None
        """The name of the graph that was run last."""

    def give(self, name: str, value: Value) -> None:
        self._sources.pop(name, None)
        if isinstance(value, HostValue):
            self._sources[name] = value
        self._bind(name, value)

    def take(self, name: str, value: Value) -> None:
        self._targets.pop(name, None)
        if isinstance(value, HostValue):
            self._targets[name] = value
        self._bind(name, value)

    def _bind(self, name: str, value: Value) -> None:
        if isinstance(value, HostValue):
            held = self._held.get(name)
            if held is not None and (held.shape, held.dtype) == (value.array.shape, value.dtype):
                return
            value = CudaValue(self._engine.driver, value.array.shape, value.dtype, name, batched=True)
            value.clear()
        assert isinstance(value, CudaValue), "a value of this engine"
        self._held[name] = value
        self._forget()

    def _forget(self) -> None:
        """What was planned for other arguments."""
        if self._captured is not None:
            self._engine.driver.discard(self._captured)
        self._launches = self._captured = None

    def __del__(self) -> None:
        self._forget()

    def sizes(self) -> dict[str, int]:
        """Those of the dynamic dimensions, by name, as the arguments so far tell them."""
        shapes = [*((n, s.shape) for n, s in self._signature.inputs.items())]
        shapes += [(spec.input, spec.shape) for spec in self._signature.kept]
        sizes: dict[str, int] = {}
        for name, shape in shapes:
            sizes |= {d: n for d, n in zip(shape, self._held[name].shape, strict=True) if isinstance(d, str)}
        return sizes

    def run(self) -> None:
        driver = self._engine.driver
        with driver.active():
            for name, source in self._sources.items():
                driver.write(self._held[name].address, np.ascontiguousarray(source.array))
            launches = self._launches
            if launches is None:
                launches = self._launches = self._planned()
            if self._captured is None and self._fixed:
                self._captured = driver.captured(launches)
            if self._captured is not None:
                driver.replay(self._captured)
            else:
                for launch in launches:
                    driver.launch(launch)
            for name, target in self._targets.items():
                driver.read(target.array, self._held[name].address)

    def _planned(self) -> list[Launch]:
        """The launches for the arguments that there are."""
        sizes = self._padded(self.sizes())
        spec = next(each for each in self._signature.functions if each.takes(sizes))
        self._fixed = bool(spec.fixed)
        self.graph = spec.name
        graph = self._engine.target.graphs[spec.name]
        known = dict(sizes)
        for name, definition in graph.definitions.items():
            known[name] = definition.evaluated(known)
        offsets = self._slots(graph, known)
        made: list[Launch] = []
        for launch in graph.launches:
            programs = evaluated(launch.programs, known)
            if programs == 0:
                continue
            values = [self._address(place.given, place.stored, place.slot, offsets) for place in launch.buffers]
            values += [evaluated(size, known) for size in launch.sizes]
            made.append(self._engine.launch(launch.kernel, programs, values))
        return made

    def _padded(self, sizes: dict[str, int]) -> dict[str, int]:
        """The sizes with as many rows as a graph for a batch of a fixed size wants, where all tensors have them."""
        if BATCH not in sizes:
            return sizes
        larger = {**sizes, BATCH: bucket(sizes[BATCH])}
        spec = next(each for each in self._signature.functions if each.takes(larger))
        if BATCH not in spec.fixed:
            return sizes
        batched = {
            name
            for name, each in (*self._signature.inputs.items(), *self._signature.outputs.items())
            if each.shape[:1] == (BATCH,)
        }
        batched |= {name for each in self._signature.kept for name in (each.input, each.output)}
        enough = all(self._held[name].rows >= larger[BATCH] for name in batched if name in self._held)
        return larger if enough else sizes

    def _slots(self, graph: PlannedGraph, known: Mapping[str, int]) -> list[int]:
        """Where each slot begins in the workspace, which is made if it is too small."""
        offsets = [0]
        for size in graph.slots:
            offsets.append(offsets[-1] + -(-evaluated(size, known) // ALIGNMENT) * ALIGNMENT)
        driver = self._engine.driver
        if self._workspace is None or self._workspace.bytes < offsets[-1]:
            self._workspace = None
            self._workspace = CudaValue(driver, (offsets[-1],), "uint8", "the workspace")
        for number, (offset, size) in enumerate(zip(offsets, graph.slots, strict=False)):
            driver.describe(
                self._workspace.address + offset, evaluated(size, known), f"slot {number} of the workspace",
                constant=False,
            )  # fmt: skip
        return offsets

    def _address(self, given: str | None, stored: int | None, slot: int | None, offsets: Sequence[int]) -> int:
        if given is not None:
            return self._held[given].address
        if stored is not None:
            return self._engine.weights.address + stored
        assert slot is not None
        assert self._workspace is not None
        return self._workspace.address + offsets[slot]
