"""Starts the stand-in for the CUDA driver, and the process that interprets kernels over its memory."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from base64 import b64decode
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from graphwright.emulating.interpreter import Argument, Interpreter, Region, Request
from graphwright.emulating.native import c_compiler, linked
from graphwright.errors import UsageError
from graphwright.ir.cache_folder import cache_folder
from graphwright.runtime.artifact import Artifact
from graphwright.runtime.cuda_api import cuda
from graphwright.runtime.engines import Device, Engine, start_engine
from graphwright.runtime.errors import SessionError

SOURCE = Path(__file__).parent / "driver.c"
MEMORY = 1 << 36
"""Bytes of the device. The host gives memory to what is written alone."""
MAGIC = b"\x7fEMULATED\n"
TIME_LIMIT = 600.0
"""Seconds for one launch: wild numbers make loops that do not end."""
ALIGNMENT = 16
"""Bytes: kernels are compiled for pointers to multiples of this."""


class _Function(ctypes.Structure):
    _fields_ = [
        ("number", ctypes.c_int),
        ("parameters", ctypes.c_int),
        ("threads", ctypes.c_int),
        ("sizes", ctypes.c_int * 64),
        ("needed_shared", ctypes.c_uint),
        ("allowed_shared", ctypes.c_uint),
    ]


_FIND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(_Function))
_ADDRESS = ctypes.POINTER(ctypes.c_uint64)
_RUN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(ctypes.c_uint64))


@dataclass(frozen=True)
class Counts:
    """Launches by themselves, graphs, and copies between host and device."""

    launches: int
    graphs: int
    copies: int


class Emulator:
    """The stand-in driver, loaded into this process under the name of the real one.

    `time_limit` are the seconds that a launch may take. It names what `describe` was told of.
    """

    def __init__(self) -> None:
        self.time_limit = TIME_LIMIT
        self.library = ctypes.CDLL(str(_built()), mode=ctypes.RTLD_GLOBAL)
        self._kernels: list[dict[str, Any]] = []
        self._regions: dict[int, Region] = {}
        self._callbacks = _FIND(self._find), _RUN(self._run)
        self.library.emulator_base.restype = ctypes.c_uint64
        self.library.emulator_start.argtypes = [ctypes.c_size_t, _FIND, _RUN]
        self.library.emulator_bounds.argtypes = [ctypes.c_uint64, _ADDRESS, _ADDRESS]
        self.library.emulator_name.argtypes = [ctypes.c_uint64, ctypes.c_char_p]
        self.library.emulator_limit.argtypes = [ctypes.c_size_t]
        file = self.library.emulator_start(MEMORY, *self._callbacks)
        if file < 0:
            raise UsageError("the emulator cannot have the memory of its device: this machine has no room for it")
        self._interpreter = Interpreter(file, MEMORY)

    def describe(self, address: int, size: int, name: str, *, constant: bool) -> None:
        """Says what is at an address. `constant`: no launch writes it, so that it may be read before others end."""
        for inside in [each for each in self._regions if address <= each < address + size]:
            del self._regions[inside]  # of an allocation that was freed
        self._regions[address] = Region(name, address, size, constant)
        self.library.emulator_name(address, name.encode())

    def counts(self) -> Counts:
        """What the driver was asked for so far."""
        found = (ctypes.c_long * 3)()
        self.library.emulator_counts(found)
        return Counts(*found)

    def _find(self, image: int, symbol: bytes, function: Any) -> int:
        described = ctypes.string_at(image)
        kernel = json.loads(described.removeprefix(MAGIC))
        if kernel["symbol"] != symbol.decode():
            self._say(f"the module has no function {symbol.decode()}")
            return 1
        found = function.contents
        found.number, found.threads = len(self._kernels), kernel["threads"]
        found.needed_shared = kernel.get("shared", 0)
        found.parameters = len(kernel["parameters"])
        for place, (_, kind) in enumerate(kernel["parameters"]):
            found.sizes[place] = 8 if kind.startswith("*") or kind == "i64" else 4
        if "object" in kernel:
            kernel["library"] = str(linked(b64decode(kernel.pop("object"))))
        self._kernels.append(kernel)
        return 0

    def _run(self, number: int, programs: int, values: Any) -> int:
        kernel = self._kernels[number]
        try:
            arguments = [
                self._argument(name, kind, values[place]) for place, (name, kind) in enumerate(kernel["parameters"])
            ]
            request = Request(
                kernel.get("body") or f"{kernel['library']}:{kernel['symbol']}",
                programs,
                arguments,
                kernel.get("constants"),
                frozenset(kernel.get("written", ())),
            )
            problem = self._interpreter.ask(request, self.time_limit)
        except _WrongArgument as error:
            problem = str(error)
        # What the driver adds about guards stands behind this.
        self._say(f"kernel {kernel['symbol']}: {problem or 'it ran'}")
        return int(problem is not None)

    def _argument(self, name: str, kind: str, value: int) -> Argument:
        if kind == "i64":
            return Argument(name, kind, ctypes.c_int64(value).value, None)
        if not kind.startswith("*"):
            return Argument(name, kind, ctypes.c_int32(value & 0xFFFFFFFF).value, None)
        base = int(self.library.emulator_base())
        if not base <= value < base + MEMORY:
            raise _WrongArgument(f"`{name}` is no address of the device")
        if value % ALIGNMENT:
            raise _WrongArgument(f"`{name}` is at no multiple of {ALIGNMENT} bytes")
        region = self._region(value)
        if region is None:
            raise _WrongArgument(f"`{name}` points to memory that is not allocated")
        return Argument(name, kind, value - base, replace(region, begin=region.begin - base))

    def _region(self, address: int) -> Region | None:
        """What is at an address: what it was described as, or the allocation."""
        begin, size = ctypes.c_uint64(), ctypes.c_uint64()
        if self.library.emulator_bounds(address, ctypes.byref(begin), ctypes.byref(size)):
            return None
        known = self._regions.get(address)
        if known is not None:
            return known
        whole = self._regions.get(begin.value)
        if whole is not None and whole.begin <= address < whole.begin + whole.bytes:
            return whole
        return Region("", begin.value, size.value, constant=False)

    def _say(self, why: str) -> None:
        self.library.emulator_say(why.encode()[:400])


class _WrongArgument(Exception):
    """An argument that no kernel can be launched with."""


@cache
def start_emulator() -> Emulator:
    """The emulator of this process. It must be started before anything loads the CUDA driver.

    Raises UsageError where there is no C compiler, no torch or no Triton.
    """
    missing = [name for name in ("torch", "triton") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"the emulator needs {' and '.join(missing)}: in the clone of Graphwright, run "
            "`pip install -e '.[cuda-compile]'`"
        )
    return Emulator()


def emulated_engine(artifact: Artifact, *, threads: int, device: Device) -> Engine:
    """What starts the engine of an artifact for GPUs on the emulator, as `graphwright.load` takes it.

    Raises SessionError for an artifact of another backend.
    """
    backend = artifact.manifest.program.backend
    if backend != "cuda":
        raise SessionError(f"{artifact.folder} is for the backend {backend!r}; the emulator runs programs of 'cuda'")
    emulator = start_emulator()
    cuda().describe = emulator.describe
    return start_engine(artifact, threads=threads, device=device)


def _built() -> Path:
    """The library, compiled once for each state of its source."""
    source = SOURCE.read_bytes()
    folder = cache_folder() / "emulator" / sha256(source).hexdigest()[:16]
    library = folder / "libcuda.so.1"
    if library.exists():
        return library
    compiler = c_compiler()
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{os.getpid()}.so"
    command = [compiler, "-O2", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(partial), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UsageError(f"the emulator cannot be compiled: {done.stderr.splitlines()[0] if done.stderr else compiler}")
    partial.replace(library)
    return library
