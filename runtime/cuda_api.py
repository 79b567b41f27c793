"""The few calls of the CUDA driver that we use, typed; all casts are here. Needs the package `cuda-bindings`."""

import ctypes
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy.typing as npt

from graphwright.runtime.errors import SessionError

INTEGER, LONG = ctypes.c_int32, ctypes.c_int64
POINTER = ctypes.c_void_p


@dataclass(frozen=True)
class Launch:
    """A kernel with its arguments, ready for the driver: `values` and `types` in the order of its parameters."""

    function: Any
    programs: int
    threads: int
    shared: int
    starts_early: bool
    values: tuple[int, ...]
    types: tuple[Any, ...]


class Cuda:
    """The driver, and the primary context of the first device, which other libraries of the process may share."""

    def __init__(self) -> None:
        try:
            driver: Any = importlib.import_module("cuda.bindings.driver")
        except ImportError:
            raise SessionError(
                "a program of the backend 'cuda' needs the package cuda-bindings: in the clone, run "
                "`pip install -e '.[cuda]'`"
            ) from None
        self._driver = driver
        try:
            self._check(driver.cuInit(0))
        except (RuntimeError, SessionError) as error:
            raise SessionError(f"there is no CUDA device here: {_first_line(error)}") from None
        if self._check(driver.cuDeviceGetCount()) == 0:
            raise SessionError("there is no CUDA device here: the driver finds none")
        device = self._check(driver.cuDeviceGet(0))
        attributes = driver.CUdevice_attribute
        major, minor = (
            self._check(driver.cuDeviceGetAttribute(attribute, device))
            for attribute in (
                attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self.architecture = f"sm_{major}{minor}" if major else "emulated"
        """What the device executes. The driver of the emulator says that its device is of no capability."""
        self._context = self._check(driver.cuDevicePrimaryCtxRetain(device))
        self.enter()
        self.stream = self._check(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))

    def enter(self) -> None:
        """Makes the context the calling thread's."""
        self._check(self._driver.cuCtxSetCurrent(self._context))

    def allocate(self, size: int) -> int:
        """The address of so many bytes of the device. Raises SessionError where it has not as many left."""
        out_of_memory = self._driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY
        code, address = self._driver.cuMemAlloc(max(1, size))
        if code == out_of_memory:
            raise SessionError(
                f"the GPU has no {size / 2**30:.2f} GiB of memory left; use a smaller max_context or batch"
            )
        self._check((code,))
        return int(address)

    def free(self, address: int) -> None:
        self._check(self._driver.cuMemFree(address))

    def write(self, address: int, array: npt.NDArray[Any]) -> None:
        """Copies an array, which is contiguous, to the device."""
        self._check(self._driver.cuMemcpyHtoD(address, array.ctypes.data, array.nbytes))

    def read(self, array: npt.NDArray[Any], address: int) -> None:
        """Copies from the device to an array, once all work before has ended."""
        self._check(self._driver.cuStreamSynchronize(self.stream))
        self._check(self._driver.cuMemcpyDtoH(array.ctypes.data, address, array.nbytes))

    def copy(self, target: int, source: int, size: int) -> None:
        self._check(self._driver.cuStreamSynchronize(self.stream))
        self._check(self._driver.cuMemcpyDtoD(target, source, size))

    def module(self, image: bytes) -> Any:
        """A module of machine code, which the image must outlive."""
        return self._check(self._driver.cuModuleLoadData(image))

    def function(self, module: Any, symbol: str, shared: int) -> Any:
        found = self._check(self._driver.cuModuleGetFunction(module, symbol.encode()))
        if shared > 48 * 1024:
            attribute = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self._check(self._driver.cuFuncSetAttribute(found, attribute, shared))
        return found

    def parameter_sizes(self, function: Any) -> list[int]:
        """The bytes of each parameter that the machine code takes."""
        sizes: list[int] = []
        while True:
            code, *found = self._driver.cuFuncGetParamInfo(function, len(sizes))
            if int(code) != 0:
                return sizes
            sizes.append(int(found[1]))

    def launch(self, launch: Launch) -> None:
        driver = self._driver
        config = driver.CUlaunchConfig()
        config.gridDimX, config.gridDimY, config.gridDimZ = launch.programs, 1, 1
        config.blockDimX, config.blockDimY, config.blockDimZ = launch.threads, 1, 1
        config.sharedMemBytes, config.hStream = launch.shared, self.stream
        if launch.starts_early:
            attribute = driver.CUlaunchAttribute()
            attribute.id = driver.CUlaunchAttributeID.CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION
            attribute.value.programmaticStreamSerializationAllowed = 1
            config.attrs, config.numAttrs = [attribute], 1
        self._check(driver.cuLaunchKernelEx(config, launch.function, (launch.values, launch.types), 0))

    def captured(self, launches: Sequence[Launch]) -> Any:
        """The launches as one graph, which `replay` launches at once."""
        driver = self._driver
        self._check(
            driver.cuStreamBeginCapture(self.stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        )
        for launch in launches:
            self.launch(launch)
        graph = self._check(driver.cuStreamEndCapture(self.stream))
        ready = self._check(driver.cuGraphInstantiate(graph, 0))
        self._check(driver.cuGraphDestroy(graph))
        return ready

    def replay(self, graph: Any) -> None:
        self._check(self._driver.cuGraphLaunch(graph, self.stream))

    def _check(self, result: tuple[Any, ...]) -> Any:
        """What a call gives beside its code. Raises SessionError where that is an error."""
        code, *values = result
        if int(code) != 0:
            _, text = self._driver.cuGetErrorString(code)
            name = getattr(code, "name", str(code))
            raise SessionError(f"the CUDA driver says {name}: {text.decode() if text else 'no more'}")
        return values[0] if len(values) == 1 else values


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


@cache
def cuda() -> Cuda:
    """The driver, started once a process. Raises SessionError where there is none, or no device."""
    return Cuda()


def argument_types(parameters: Sequence[str], scratch_pointers: int) -> tuple[Any, ...]:
    known = {"pointer": POINTER, "i32": INTEGER, "i64": LONG}
    kinds = [known[kind] for kind in parameters]
    return (*kinds, *[POINTER] * scratch_pointers)


def argument_sizes(types: Sequence[Any]) -> list[int]:
    return [ctypes.sizeof(each) for each in types]
