# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false
# TVM's parser reads the annotations of scripts, Python does not.
"""Functions of TVM's that tell how they were called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from graphwright.runtime.artifact import ArtifactWriter, FunctionSpec, ModelInfo, Program, TensorSpec
from tests.runtime.tvm_libraries import PAGE, export, script

MOST_THREADS = 8
FUNCTIONS = FunctionSpec(name="one", fixed={"n": 1}), FunctionSpec(name="two", fixed={"n": 2}), FunctionSpec(name="any")
BYTES_EACH = 1 << 20
"""Of workspace beyond a page, for each of n."""
FACTS = ("function", "threads", "workspace", "calls before", "weight", "n")


def program(**changes: object) -> Program:
    entries: dict[str, object] = {
        "kind": "function",
        "backend": "tvm",
        "dialect": "",
        "file": "program.so",
        "weights": "weights.safetensors",
        "inputs": {"x": TensorSpec(dtype="float32", shape=("n",))},
        "outputs": {
            "thread": TensorSpec(dtype="int64", shape=(MOST_THREADS,)),
            "facts": TensorSpec(dtype="int64", shape=(len(FACTS),)),
        },
        "functions": FUNCTIONS,
        "dimensions": ("n",),
    }
    return Program.model_validate(entries | changes)


def write_probe(path: Path, library: Path, **changes: object) -> Path:
    """An artifact with the library of `compile_probe`, and the manifest's entry changed."""
    with ArtifactWriter(path) as writer:
        writer.add_copy(library, "program.so")
        writer.add_bytes("weights.safetensors", bytes([7, 8, 9]))
        entry = program(**changes)
        writer.commit(producer="tests", model=ModelInfo(name="f", architecture="F", parameters=0), program=entry)
    return path


def facts(outputs: dict[str, np.ndarray[Any, Any]]) -> dict[str, int]:
    return dict(zip(FACTS, outputs["facts"].tolist(), strict=True))


def compile_probe(path: Path) -> Path:
    """A library with functions of that kind: each thread writes who it is, the first one the facts."""
    functions = {spec.name: _probe(number) for number, spec in enumerate(FUNCTIONS)}
    export(functions | {f"{name}_workspace": _workspace() for name in functions}, path)
    return path


def _workspace() -> Any:
    T = script()

    @T.prim_func(s_tir=True)
    def workspace(n: T.int64) -> T.int64:
        return PAGE + BYTES_EACH * n

    return workspace


def _probe(number: int) -> Any:
    T = script()
    count = len(FACTS)

    @T.prim_func(s_tir=True)
    def probe(x: T.handle, who: T.handle, what: T.handle, weights: T.handle, workspace: T.handle, threads: T.int32):
        n, bytes_of_weights, bytes_of_workspace = T.int64(), T.int64(), T.int64()
        given = T.match_buffer(x, (n,), "float32")
        thread = T.match_buffer(who, (MOST_THREADS,), "int64")
        told = T.match_buffer(what, (count,), "int64")
        blob = T.match_buffer(weights, (bytes_of_weights,), "uint8")
        space = T.match_buffer(workspace, (bytes_of_workspace,), "uint8")
        for t in T.parallel(threads):
            thread[t] = T.call_extern("int64", "gettid")
        told[0] = T.int64(number)
        told[1] = T.Cast("int64", threads)
        told[2] = bytes_of_workspace
        told[3] = T.Cast("int64", space[0])
        told[4] = T.Cast("int64", blob[bytes_of_weights - 1])
        told[5] = T.Cast("int64", given[n - 1])
        space[0] += T.uint8(1)

    return probe
