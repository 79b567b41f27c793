"""The few calls of the CUDA driver that we use, typed; all casts are here. Needs the package `cuda-bindings`."""

import atexit
import ctypes
import importlib
import os
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
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


class NoDeviceError(SessionError):
    """There is no GPU, or no driver."""


class Cuda:
    """The driver, and the primary context of the first device, which other libraries of the process may share.

    All work is done in the order in which it was given, by one stream: copies too. `active` is around everything that
    gives work, so that two threads don't.
    """

    def __init__(self) -> None:
        self._driver: Any = cuda_bindings()
        driver = self._driver
        try:
            self.check(driver.cuInit(0))
        except (RuntimeError, SessionError) as error:
            raise NoDeviceError(f"there is no CUDA device here: {_first_line(error)}") from None
        if self.check(driver.cuDeviceGetCount()) == 0:
            raise NoDeviceError("there is no CUDA device here: the driver finds none")
        self._device = self.check(driver.cuDeviceGet(0))
        self.version = int(self.check(driver.cuDriverGetVersion()))
        """Of CUDA that the driver is for: 13000 for 13.0."""
        attributes = driver.CUdevice_attribute
        major, minor = (
            self.check(driver.cuDeviceGetAttribute(attribute, self._device))
            for attribute in (
                attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
                attributes.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
            )
        )
        self.architecture = f"sm_{major}{minor}" if major else "emulated"
        """What the device executes. The driver of the emulator says that its device is of no capability."""
        self.describe: Callable[..., None] = _not_described
        """Told of what is allocated: address, bytes, name, and whether no launch writes it. For the emulator."""
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._closed = False
        self._context = self.check(driver.cuDevicePrimaryCtxRetain(self._device))
        atexit.register(self._close)
        with self.active():
            self.stream = self.check(driver.cuStreamCreate(driver.CUstream_flags.CU_STREAM_NON_BLOCKING))

    @contextmanager
    def active(self) -> Generator[None]:
        """The context is the calling thread's inside, and what it had before stands again afterwards.

        Raises SessionError in a process that was forked from the one that started the driver.
        """
        if os.getpid() != self._process:
            raise SessionError(
                "this process was forked from one that uses the GPU, which it cannot do itself: start processes with "
                "multiprocessing's method 'spawn'"
            )
        with self._lock:
            self.check(self._driver.cuCtxPushCurrent(self._context))
            try:
                yield
            finally:
                self.check(self._driver.cuCtxPopCurrent())

    def _close(self) -> None:
        """Gives the context back when the process ends; what it holds goes with it, if nobody else retains it."""
        if os.getpid() == self._process and not self._closed:
            self._closed = True
            self._driver.cuDevicePrimaryCtxRelease(self._device)

    @property
    def name(self) -> str:
        return self.check(self._driver.cuDeviceGetName(100, self._device)).split(b"\0")[0].decode()

    def memory(self) -> tuple[int, int]:
        """Bytes of the device that are left, and all of them."""
        with self.active():
            left, total = self.check(self._driver.cuMemGetInfo())
        return int(left), int(total)

    def allocate(self, size: int, name: str, *, constant: bool = False) -> int:
        """The address of so many bytes of the device. Raises SessionError where it has not as many left."""
        with self.active():
            code, address = self._driver.cuMemAlloc(max(1, size))
        if code == self._driver.CUresult.CUDA_ERROR_OUT_OF_MEMORY:
            raise SessionError(
                f"the GPU has {self.memory()[0] / 2**30:.2f} GiB of memory left, {size / 2**30:.2f} GiB are needed for "
                f"{name}; use a smaller max_context or batch"
            )
        self.check((code,))
        self.describe(int(address), size, name, constant=constant)
        return int(address)

    def free(self, address: int) -> None:
        """Does nothing where the memory went with the context, or is another process's."""
        if not self._closed and os.getpid() == self._process:
            with self.active():
                self.check(self._driver.cuMemFree(address))

    def write(self, address: int, array: npt.NDArray[Any]) -> None:
        """Copies an array, which is contiguous, to the device, after all work before. It may be changed afterwards."""
        self.check(self._driver.cuMemcpyHtoDAsync(address, array.ctypes.data, array.nbytes, self.stream))

    def read(self, array: npt.NDArray[Any], address: int) -> None:
        """Copies from the device to an array, once all work before has ended."""
        self.check(self._driver.cuMemcpyDtoHAsync(array.ctypes.data, address, array.nbytes, self.stream))
        self.wait()

    def copy(self, target: int, source: int, size: int) -> None:
        self.check(self._driver.cuMemcpyDtoDAsync(target, source, size, self.stream))

    def zero(self, address: int, size: int) -> None:
        self.check(self._driver.cuMemsetD8Async(address, 0, size, self.stream))

    def wait(self) -> None:
        """Until all work has ended. Raises SessionError for what failed in it."""
        self.check(self._driver.cuStreamSynchronize(self.stream))

    @contextmanager
    def pinned(self, size: int, count: int) -> Generator[list["Pinned"]]:
        """Buffers of the host's that the device reads by itself."""
        driver, made = self._driver, list[Pinned]()
        try:
            for _ in range(count):
                address = int(self.check(driver.cuMemHostAlloc(size, 0)))
                made.append(Pinned(self, address, size, self.check(driver.cuEventCreate(0))))
            yield made
        finally:
            self._driver.cuStreamSynchronize(self.stream)
            for each in made:
                self.check(driver.cuEventDestroy(each.event))
                self.check(driver.cuMemFreeHost(each.address))

    def send(self, target: int, source: "Pinned", size: int) -> None:
        """Begins to copy to the device; `Pinned.wait` ends when that is done."""
        self.check(self._driver.cuMemcpyHtoDAsync(target, source.address, size, self.stream))
        self.check(self._driver.cuEventRecord(source.event, self.stream))

    def wait_for(self, event: Any) -> None:
        self.check(self._driver.cuEventSynchronize(event))

    def module(self, image: bytes) -> Any:
        """A module of machine code, which the image must outlive."""
        return self.check(self._driver.cuModuleLoadData(image))

    def function(self, module: Any, symbol: str, shared: int) -> Any:
        found = self.check(self._driver.cuModuleGetFunction(module, symbol.encode()))
        if shared > 48 * 1024:
            attribute = self._driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
            self.check(self._driver.cuFuncSetAttribute(found, attribute, shared))
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
        self.check(driver.cuLaunchKernelEx(config, launch.function, (launch.values, launch.types), 0))

    def captured(self, launches: Sequence[Launch]) -> Any:
        """The launches as one graph, which `replay` launches at once."""
        driver = self._driver
        self.check(
            driver.cuStreamBeginCapture(self.stream, driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_THREAD_LOCAL)
        )
        try:
            for launch in launches:
                self.launch(launch)
        finally:
            code, graph = driver.cuStreamEndCapture(self.stream)
        self.check((code,))
        ready = self.check(driver.cuGraphInstantiate(graph, 0))
        self.check(driver.cuGraphDestroy(graph))
        return ready

    def replay(self, graph: Any) -> None:
        self.check(self._driver.cuGraphLaunch(graph, self.stream))

    def discard(self, graph: Any) -> None:
        """Gives back a graph of `captured`, or does nothing as `free`."""
        if not self._closed and os.getpid() == self._process:
            with self.active():
                self.check(self._driver.cuGraphExecDestroy(graph))

    def check(self, result: tuple[Any, ...]) -> Any:
        """What a call gives beside its code. Raises SessionError where that is an error."""
        code, *values = result
        if int(code) != 0:
            _, text = self._driver.cuGetErrorString(code)
            name = getattr(code, "name", str(code))
            raise SessionError(f"the CUDA driver says {name}: {text.decode() if text else 'no more'}")
        return values[0] if len(values) == 1 else values


class Pinned:
    """Memory of the host's that is never paged out, and an event that tells when the device has read it."""

    def __init__(self, driver: Cuda, address: int, size: int, event: Any) -> None:
        self._driver, self.address, self.event = driver, address, event
        self.array: npt.NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(address))

    def wait(self) -> None:
        self._driver.wait_for(self.event)


def cuda_bindings() -> Any:
    """The module of the driver's calls. Raises SessionError where it is not installed."""
    try:
        return importlib.import_module("cuda.bindings.driver")
    except ImportError:
        raise SessionError(
            "a program of the backend 'cuda' needs the package cuda-bindings: in the clone, run "
            "`pip install -e '.[cuda]'`"
        ) from None


def _not_described(address: int, size: int, name: str, *, constant: bool) -> None:
    """A driver has no use for names."""


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def cuda_version(number: int) -> str:
    """As people write it: 12.9 for 12090."""
    return f"{number // 1000}.{number % 1000 // 10}"


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
