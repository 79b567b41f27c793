"""Functions in C that tell how they were called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from graphwright.runtime.artifact import ArtifactWriter, FunctionSpec, ModelInfo, Program, TensorSpec
from tests.runtime.native_libraries import export

MOST_THREADS = 8
FUNCTIONS = FunctionSpec(name="one", fixed={"n": 1}), FunctionSpec(name="two", fixed={"n": 2}), FunctionSpec(name="any")
BYTES_EACH = 1 << 20
"""Of workspace, for each of n."""
FAILS = 13
"""The n with which a call fails."""
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
    functions = {
        spec.name: (
            "if (given[0].bits != 32)\n    return DOES_NOT_FIT;\n"
            f"if (given[0].shape[0] == {FAILS})\n    return FAILED;\n"
            f"const probe job = {{given, {number}}};\nrun_on_threads(told, &job, (position){{0, 0, 0}}, threads);",
            f"{BYTES_EACH} * sizes[0]",
        )
        for number, spec in enumerate(FUNCTIONS)
    }
    export(functions, path, _PROBE)
    return path


_PROBE = """
typedef struct { const tensor *given; int64_t number; } probe;
/* Soon all that are wanted: a team may begin without those that still sleep, and go on without those that are late. */
static int gathered(member *me) {
    for (int64_t looks = 0; looks < 200000 && me->slot >= 0 && me->parts < __builtin_popcountll(team.limit); looks++)
        if (!meet(me, &me->at))
            return 0;
    return 1;
}
static void told(member *me, const void *job) {
    const tensor *given = ((const probe *)job)->given;
    const int64_t n = given[0].shape[0];
    if (!gathered(me))
        return;
    ((int64_t *)given[1].data)[me->part] = syscall(SYS_gettid);
    if (me->part == 0) {
        const int64_t facts[] = {((const probe *)job)->number, me->parts, given[4].shape[0], given[4].data[0],
                                 given[3].data[given[3].shape[0] - 1], (int64_t)((float *)given[0].data)[n - 1]};
        for (int i = 0; i < 6; i++)
            ((int64_t *)given[2].data)[i] = facts[i];
        given[4].data[0]++;
    }
    meet(me, 0);
}
"""
