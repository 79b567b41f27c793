"""Which CUDA kernels a release of onnxruntime-gpu has, and where it places a model's nodes, told by its own wheel.

Neither needs a GPU: the wheel's library of CUDA kernels registers them when it is loaded. The libraries that it links
to (libcudart, cuBLAS, ...) are stand-ins made here: their memory is that of the host, and everything else does nothing
and succeeds. So a session starts, with real placement, and none may run.

    pip download onnxruntime-gpu==1.31.1 --no-deps -d W
    python -m benchmarks.onnxruntime_kernels W/*.whl > backends/onnx/placement/onnxruntime-gpu-1.31.txt
    python -m benchmarks.onnxruntime_kernels W/*.whl model.onnx

Needs gcc, nm and Triton, whose package has the headers of CUDA.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

OPSET = 24
LIBRARY = "onnxruntime/capi/libonnxruntime_providers_cuda.so"
PROVIDER = "CUDAExecutionProvider"
DOMAINS = {"": "-", "com.microsoft": "com.microsoft"}
ALLOCATE = "{return posix_memalign(p,256,n?n:1)?2:0;}"
MAKE = "{*p=calloc(1,4096);return 0;}"
HOPPER = {1: 1024, 8: 49152, 10: 32, 16: 132, 39: 2048, 75: 9, 76: 0, 81: 233472, 97: 232448}
"""Attributes of a device by their numbers: threads, memory, multiprocessors, and the compute capability."""
FUNCTIONS = {
    "cudaGetDeviceCount": "(int*n){*n=1;return 0;}",
    "cudaGetDevice": "(int*n){*n=0;return 0;}",
    "cudaMalloc": f"(void**p,size_t n){ALLOCATE}",
    "cudaMallocFromPoolAsync": f"(void**p,size_t n,void*a,void*b){ALLOCATE}",
    "cudaMallocHost": f"(void**p,size_t n){ALLOCATE}",
    "cudaHostAlloc": f"(void**p,size_t n,unsigned f){ALLOCATE}",
    "cudaFree": "(void*p){free(p);return 0;}",
    "cudaFreeAsync": "(void*p,void*s){free(p);return 0;}",
    "cudaFreeHost": "(void*p){free(p);return 0;}",
    "cudaMemGetInfo": "(size_t*a,size_t*b){*a=60ull<<30;*b=80ull<<30;return 0;}",
    "cudaMemcpy": "(void*d,const void*s,size_t n,int k){memcpy(d,s,n);return 0;}",
    "cudaMemcpyAsync": "(void*d,const void*s,size_t n,int k,void*t){memcpy(d,s,n);return 0;}",
    "cudaMemset": "(void*d,int v,size_t n){memset(d,v,n);return 0;}",
    "cudaMemsetAsync": "(void*d,int v,size_t n,void*s){memset(d,v,n);return 0;}",
    "cudaDeviceGetAttribute": "(int*v,int a,int d){switch(a){"
    + "".join(f"case {number}:*v={value};break;" for number, value in HOPPER.items())
    + "default:*v=1;}return 0;}",
    "cudaGetDeviceProperties": "(struct cudaDeviceProp*p,int d){memset(p,0,sizeof*p);p->totalGlobalMem=80ull<<30;"
    "p->sharedMemPerBlock=49152;p->regsPerBlock=65536;p->warpSize=32;p->maxThreadsPerBlock=1024;p->major=9;"
    "p->maxGridSize[0]=2147483647;p->maxGridSize[1]=p->maxGridSize[2]=65535;p->multiProcessorCount=132;"
    "p->maxThreadsPerMultiProcessor=2048;p->sharedMemPerBlockOptin=232448;return 0;}",
    "cudaDriverGetVersion": "(int*v){*v=13000;return 0;}",
    "cudaRuntimeGetVersion": "(int*v){*v=13000;return 0;}",
    "cudaStreamIsCapturing": "(void*s,int*x){*x=0;return 0;}",
    "cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags": "(int*n){*n=1;return 0;}",
    "cudaPointerGetAttributes": "(int*a,const void*p){memset(a,0,32);a[0]=2;return 0;}",
    "cudaGetDriverEntryPointByVersion": "(const char*n,void**p){*p=(void*)nothing;return 0;}",
    **dict.fromkeys(
        (
            *("cudaStreamCreate", "cudaStreamCreateWithFlags", "cudaEventCreate", "cudaEventCreateWithFlags"),
            *("cublasCreate_v2", "cublasLtCreate", "cudaMemPoolCreate"),
        ),
        f"(void**p){MAKE}",
    ),
}
TEXTS = ("cudaGetErrorName", "cudaGetErrorString", "cublasGetStatusName", "cublasGetStatusString")
WITHOUT_SYMBOLS = ("libcurand.so.10",)
OF_OTHER_PROVIDERS = {
    "libnvinfer.so.10": "createInferBuilder_INTERNAL createInferRefitter_INTERNAL createInferRuntime_INTERNAL "
    "getInferLibVersion getPluginRegistry",
    "libnvonnxparser.so.10": "createNvOnnxParserRefitter_INTERNAL createNvOnnxParser_INTERNAL",
    "libcudnn.so.9": "cudnnCreate cudnnDestroy cudnnSetStream",
}
"""What TensorRT's provider links to: listing kernels loads it too."""


def make_libraries(wheel: Path, folder: Path) -> None:
    """Writes a stand-in of every library that the wheel's CUDA provider links to."""
    listing = subprocess.run(
        ["nm", "-D", "--undefined-only", str(wheel / LIBRARY)], capture_output=True, text=True, check=True
    )
    wanted: dict[str, set[str]] = defaultdict(
        set, {name: set(text.split()) for name, text in OF_OTHER_PROVIDERS.items()}
    )
    for line in listing.stdout.splitlines():
        name, _, library = line.split()[-1].partition("@")
        if library.startswith("libcu"):
            wanted[library].add(name)
        elif name.startswith("cu"):
            wanted["libcuda.so.1"].add(name)
    for library in (*wanted, *WITHOUT_SYMBOLS):
        _compile(library, wanted.get(library, set()), folder)


def _compile(library: str, names: Iterable[str], folder: Path) -> None:
    lines = ["#include <stdlib.h>", "#include <string.h>", "#include <driver_types.h>"]
    lines.append("static int nothing(void){return 0;}")
    for name in sorted(names):
        if name in FUNCTIONS:
            lines.append(f"int {name}{FUNCTIONS[name]}")
        else:
            lines.append(f'const char*{name}(int e){{return "";}}' if name in TEXTS else f"long {name}(){{return 0;}}")
    source, script = folder / f"{library}.c", folder / f"{library}.map"
    source.write_text("\n".join(lines))
    script.write_text(f"{library} {{ global: *; }};\n")
    triton = find_spec("triton")
    assert triton is not None
    assert triton.origin is not None
    headers = Path(triton.origin).parent / "backends" / "nvidia" / "include"
    versions = [] if library == "libcuda.so.1" else [f"-Wl,--version-script={script}"]
    target = ["-o", str(folder / library), f"-Wl,-soname,{library}", *versions]
    subprocess.run(["gcc", "-w", "-shared", "-fPIC", f"-I{headers}", str(source), *target], check=True)


def print_kernels() -> None:
    """The kernels for opset 24, one a line: operator, domain, and the types of operands and results by position."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    state: Any = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    schemas: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for schema in state.get_all_operator_schema():
        schemas[schema.domain, schema.name].append(schema)
    found: dict[tuple[str, str], list[dict[str, frozenset[str]]]] = defaultdict(list)
    for kernel in state.get_all_opkernel_def():
        since, until = kernel.version_range
        standard = kernel.domain == ""
        if kernel.provider != PROVIDER or kernel.domain not in DOMAINS or (standard and not since <= OPSET <= until):
            continue
        fitting = [s for s in schemas[kernel.domain, kernel.op_name] if not standard or s.since_version <= OPSET]
        if fitting:
            schema = max(fitting, key=lambda s: s.since_version)
            found[kernel.op_name, kernel.domain].append(_by_position(schema, kernel.type_constraints))
    print(f"# The kernels of {PROVIDER} in onnxruntime-gpu {onnxruntime.__version__} for opset {OPSET}.")
    print("# Written by `python -m benchmarks.onnxruntime_kernels`, which says what a line means.")
    for (name, domain), kernels in sorted(found.items()):
        for kernel in merged(kernels):
            texts = [f"{places}={'|'.join(sorted(types))}" for places, types in kernel.items()]
            print(" ".join((name, DOMAINS[domain], *texts)))


def _by_position(schema: Any, constraints: dict[str, list[str]]) -> dict[str, frozenset[str]]:
    """Types by the operands that they are of, `0,1`, with a + behind the last one where it repeats; results have a >.

    Results with the type of an operand are left out, as their types follow.
    """
    kernel: dict[str, frozenset[str]] = {}
    for name, types in constraints.items():
        places = _places(schema.inputs, name)
        results = _places(schema.outputs, name)
        key = ",".join(places) if places else ",".join(f">{place}" for place in results)
        tensors = [match[1] for t in types if (match := re.fullmatch(r"tensor\((\w+)\)", t))]
        if key:
            kernel[key] = frozenset(tensors)
    return kernel


def _places(parameters: Any, name: str) -> list[str]:
    variadic = len(parameters) - 1
    return [
        f"{i}+" if i == variadic and str(p.option).endswith("Variadic") else str(i)
        for i, p in enumerate(parameters)
        if name in (p.typeStr, p.name)
    ]


def merged(kernels: list[dict[str, frozenset[str]]]) -> list[dict[str, frozenset[str]]]:
    """The kernels with those joined that differ in the types of one constraint."""
    done: list[dict[str, frozenset[str]]] = []
    for kernel in kernels:
        for other in done:
            different = [k for k in kernel if other.get(k) != kernel[k]]
            if other.keys() == kernel.keys() and len(different) < 2:
                for key in different:
                    other[key] |= kernel[key]
                break
        else:
            done.append(dict(kernel))
    return done if len(done) == len(kernels) else merged(done)


def print_placement(model: str) -> None:
    """Starts a session over a model: ONNX Runtime says on stderr where it places which node, and what it copies."""
    onnxruntime: Any = importlib.import_module("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 0
    options.log_verbosity_level = 1
    onnxruntime.InferenceSession(model, options, providers=[PROVIDER, "CPUExecutionProvider"])


def unpacked(path: Path, folder: Path) -> Path:
    """The folder with what is in a wheel of onnxruntime-gpu: the path itself, or that into which its file is unpacked.

    Exits with a line where there is no such wheel.
    """
    if not path.exists():
        raise SystemExit(f"error: there is no {path}: name a wheel of onnxruntime-gpu, or the folder that it is in")
    try:
        if path.is_file():
            with zipfile.ZipFile(path) as archive:
                archive.getinfo(LIBRARY)
                archive.extractall(folder)
            return folder
    except (zipfile.BadZipFile, KeyError):
        raise SystemExit(f"error: {path} is no wheel of onnxruntime-gpu, which has {LIBRARY}") from None
    if not (path / LIBRARY).is_file():
        raise SystemExit(f"error: {path} has no {LIBRARY}: no wheel of onnxruntime-gpu is unpacked there")
    return path


def main() -> None:
    if len(sys.argv) not in (2, 3):
        raise SystemExit("error: give a wheel of onnxruntime-gpu, and a model if it is to be placed")
    wheel, *rest = sys.argv[1:]
    if os.environ.get("GRAPHWRIGHT_STAND_INS"):
        sys.path.insert(0, wheel)
        print_placement(*rest) if rest else print_kernels()
        return
    with tempfile.TemporaryDirectory() as folder:
        wheel = str(unpacked(Path(wheel), Path(folder, "wheel")))
        make_libraries(Path(wheel), Path(folder))
        environment = {**os.environ, "LD_LIBRARY_PATH": folder, "GRAPHWRIGHT_STAND_INS": "1"}
        command = [sys.executable, "-m", "benchmarks.onnxruntime_kernels", wheel, *rest]
        done = subprocess.run(command, env=environment, stderr=subprocess.PIPE if rest else None, text=True, check=True)
    if rest:
        for line in done.stderr.splitlines():
            # Where nodes are, one line each, and the copies.
            if match := re.search(r"VerifyEachNodeIsAssignedToAnEp\]\s+(.*)|AddCopyNode\] (.*)", line):
                print(match[1] or match[2])


if __name__ == "__main__":
    main()
