"""Starts the stand-in for the CUDA driver, and the process that interprets kernels over its memory."""

from __future__ import annotations

import atexit
import ctypes
import json
import os
import pickle
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from graphwright.emulating.native import c_compiler, linked
from graphwright.errors import UsageError
from graphwright.ir.cache_folder import cache_folder
from graphwright.runtime.artifact import Artifact
from graphwright.runtime.engines import Device, Engine, start_engine
from graphwright.runtime.errors import SessionError

SOURCE = Path(__file__).parent / "driver.c"
MEMORY = 1 << 36
"""Bytes of the device. The host gives memory to what is written alone."""
MAGIC = b"\x7fEMULATED\n"


class _Function(ctypes.Structure):
    _fields_ = [
        ("number", ctypes.c_int),
        ("parameters", ctypes.c_int),
        ("threads", ctypes.c_int),
        ("sizes", ctypes.c_int * 64),
        ("allowed_shared", ctypes.c_uint),
    ]


_FIND = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(_Function))
_RUN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(ctypes.c_uint64))


class Emulator:
    """The stand-in driver, loaded into this process under the name of the real one."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(_built()), mode=ctypes.RTLD_GLOBAL)
        self._kernels: list[dict[str, Any]] = []
        self._callbacks = _FIND(self._find), _RUN(self._run)
        self._library.emulator_base.restype = ctypes.c_uint64
        self._library.emulator_start.argtypes = [ctypes.c_size_t, _FIND, _RUN]
        file = self._library.emulator_start(MEMORY, *self._callbacks)
        if file < 0:
            raise UsageError("the emulator cannot have the memory of its device: this machine has no room for it")
        self._worker = _worker(file)

    def _find(self, image: int, symbol: bytes, function: Any) -> int:
        described = ctypes.string_at(image)
        kernel = json.loads(described.removeprefix(MAGIC))
        if kernel["symbol"] != symbol.decode():
            self._say(f"the module has no function {symbol.decode()}")
            return 1
        found = function.contents
        found.number, found.threads = len(self._kernels), kernel["threads"]
        found.parameters = len(kernel["parameters"])
        for place, (_, kind) in enumerate(kernel["parameters"]):
            found.sizes[place] = 8 if kind.startswith("*") or kind == "i64" else 4
        if "object" in kernel:
            kernel["library"] = str(linked(b64decode(kernel.pop("object"))))
        self._kernels.append(kernel)
        return 0

    def _run(self, number: int, programs: int, values: Any) -> int:
        kernel = self._kernels[number]
        base = self._library.emulator_base()
        arguments: list[tuple[str, str, int]] = []
        for place, (name, kind) in enumerate(kernel["parameters"]):
            value = values[place]
            if kind.startswith("*"):
                if not base <= value < base + MEMORY:
                    self._say(f"kernel {kernel['symbol']}: {name} is no address of the device")
                    return 1
                value -= base
            elif kind == "i64":
                value = ctypes.c_int64(value).value
            else:
                value = ctypes.c_int32(value & 0xFFFFFFFF).value
            arguments.append((name, kind, value))
        if "library" in kernel:
            problem = self._ask((f"{kernel['library']}:{kernel['symbol']}", programs, arguments, None))
        else:
            problem = self._ask((kernel["body"], programs, arguments, kernel["constants"]))
        # What the driver adds about guards stands behind this.
        self._say(f"kernel {kernel['symbol']}: {problem or 'it ran'}")
        return int(problem is not None)

    def _ask(self, request: object) -> str | None:
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        pickle.dump(request, self._worker.stdin)
        self._worker.stdin.flush()
        return pickle.load(self._worker.stdout)

    def _say(self, why: str) -> None:
        self._library.emulator_say(why.encode()[:500])


@cache
def start_emulator() -> Emulator:
    """The emulator of this process. It must be started before anything loads the CUDA driver.

    Raises UsageError where there is no C compiler.
    """
    return Emulator()


def emulated_engine(artifact: Artifact, *, threads: int, device: Device) -> Engine:
    """What starts the engine of an artifact for GPUs on the emulator, as `graphwright.load` takes it.

    Raises SessionError for an artifact of another backend.
    """
    backend = artifact.manifest.program.backend
    if backend != "cuda":
        raise SessionError(f"{artifact.folder} is for the backend {backend!r}; the emulator runs programs of 'cuda'")
    start_emulator()
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


def _worker(memory: int) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    worker = subprocess.Popen(
        [sys.executable, "-m", "graphwright.emulating.worker", str(memory), str(MEMORY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(memory,),
        env=environment,
    )
    stop: Callable[[], None] = worker.kill
    atexit.register(stop)
    return worker
