"""What `graphwright doctor` reports: installed packages, the machine, and what is wrong with either."""

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from graphwright.machines.gpu import gpu_facts

PACKAGES = (
    "graphwright",
    "numpy",
    "safetensors",
    "tokenizers",
    "onnxruntime",
    "onnxruntime-gpu",
    "apache-tvm",
    "apache-tvm-ffi",
    "torch",
    "onnx",
    "transformers",
    "triton",
    "cuda-bindings",
)
CRASHING_FFI = "0.1.15"
"""The version of apache-tvm-ffi that ends the process while a kernel is scheduled."""
VECTOR_FEATURES = ("avx", "avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "amx_tile", "asimd", "sve")


@dataclass(frozen=True)
class Diagnosis:
    """Facts in the order of their lines, and problems, each one line that says what to do."""

    facts: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]


def diagnose() -> Diagnosis:
    """Look at this process's packages and machine. Imports no package but the libraries that run programs."""
    installed = {name: _version(name) for name in PACKAGES}
    problems = list(package_problems(installed))
    facts = [("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")]
    facts += [(name, version or "not installed") for name, version in installed.items()]
    if not problems:
        problems += _load_problems(installed, facts)
    from graphwright.backends.tvm.linking import find_linker
    from graphwright.runtime.cores import available_cores

    if installed["apache-tvm"]:
        facts.append(("linker", find_linker() or "none, so nothing can be compiled for tvm: install gcc or clang"))
    facts.append(("threads", f"{available_cores()} used, of {os.cpu_count()} in the machine"))
    facts.append(("vectors", ", ".join(vector_features()) or "none known"))
    facts.append(("memory", memory_text()))
    facts += gpu_facts()
    return Diagnosis(tuple(facts), tuple(problems))


def package_problems(installed: dict[str, str | None]) -> list[str]:
    """What is wrong with the installed packages, by name to version (None: not installed)."""
    cpu, gpu = installed.get("onnxruntime"), installed.get("onnxruntime-gpu")
    tvm, ffi = installed.get("apache-tvm"), installed.get("apache-tvm-ffi")
    problems: list[str] = []
    if cpu and gpu:
        problems.append(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files: "
            "run `pip uninstall -y onnxruntime onnxruntime-gpu`, "
            "then `pip install -e '.[cpu]'` in the clone, or '.[onnx-cuda]'"
        )
    if tvm and not ffi:
        problems.append(
            "apache-tvm needs apache-tvm-ffi, which is missing: in the clone, run `pip install -e '.[tvm]'`"
        )
    if tvm and ffi and ffi.startswith(CRASHING_FFI):
        problems.append(
            f"apache-tvm-ffi {ffi} crashes while kernels are compiled: in the clone, run `pip install -e '.[tvm]'`, "
            "which takes another version"
        )
    return problems


def _load_problems(installed: dict[str, str | None], facts: list[tuple[str, str]]) -> list[str]:
    """Of the libraries that run programs; adds what they say of themselves to the facts."""
    from graphwright.runtime.errors import SessionError
    from graphwright.runtime.onnxruntime_api import import_onnxruntime

    problems: list[str] = []
    try:
        if installed["onnxruntime"] or installed["onnxruntime-gpu"]:
            facts.append(("devices", ", ".join(import_onnxruntime().get_available_providers())))
    except SessionError as error:
        problems.append(str(error))
    return problems


def vector_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Those of the processor's vector extensions that matter to kernels; empty where they cannot be read."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    flags = {f for line in lines if line.startswith(("flags", "Features")) for f in line.partition(":")[2].split()}
    return [feature for feature in VECTOR_FEATURES if feature in flags]


def memory_text(meminfo: Path = Path("/proc/meminfo")) -> str:
    """Available and total memory."""
    try:
        lines = meminfo.read_text(encoding="utf-8").splitlines()
        kibibytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)}
        available, total = (kibibytes[name] / 2**20 for name in ("MemAvailable", "MemTotal"))
    except (OSError, KeyError, ValueError, IndexError):
        return "unknown"
    return f"{available:.1f} GiB available of {total:.1f} GiB"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
