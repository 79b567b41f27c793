# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# TVM's parser reads the annotations of scripts, Python does not.
"""The tiny decoder as a library of TVM's, which obeys the same contract as the one in ONNX. Nothing in it is fast."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from graphwright.runtime.artifact import ArtifactWriter, FunctionSpec, ModelInfo, Program
from tests.runtime.program import HEAD_SIZE, HEADS, WIDTH, TinyDecoder, program_entry
from tests.runtime.tvm_libraries import PAGE, export, script, weights_blob

DECODE = {"batch": 1, "sequence": 1, "positions": 1}
DIMENSIONS = ("batch", "sequence", "positions", "capacity")


def tvm_program(tiny: TinyDecoder) -> Program:
    entry = program_entry(tiny).model_dump()
    functions = FunctionSpec(name="decode", fixed=DECODE), FunctionSpec(name="prefill")
    entry |= {"backend": "tvm", "dialect": "", "file": "program.so", "weights": "weights.bin"}
    return Program.model_validate(entry | {"functions": functions, "dimensions": DIMENSIONS})


def write_tvm_artifact(path: Path, tiny: TinyDecoder, program: Program | None = None) -> Path:
    """Write `tiny` as an artifact to `path`, and return `path`."""
    weights = tiny.weights
    order = ("embedding", "position", "head")
    with ArtifactWriter(path) as writer:
        writer.add_bytes("weights.bin", weights_blob([weights[name] for name in order]))
        functions = {"decode": _step(tiny), "prefill": _step(tiny)}
        functions |= {f"{name}_workspace": _workspace() for name in functions}
        export(functions, writer.folder / "program.so")
        writer.commit(
            producer="tests",
            model=ModelInfo(
                name="tiny",
                architecture="TinyDecoder",
                parameters=sum(weight.size for weight in weights.values()),
                vocabulary_size=tiny.vocabulary_size,
                context_length=tiny.context_length,
                bos_token_ids=(1,),
            ),
            program=program or tvm_program(tiny),
        )
    return path


def _workspace() -> Any:
    """A page, and then for each row a score for each place, their greatest, their sum and a mean."""
    T = script()

    @T.prim_func(s_tir=True)
    def workspace(batch: T.int64, sequence: T.int64, positions: T.int64, capacity: T.int64) -> T.int64:
        return PAGE + 4 * batch * (capacity + 3)

    return workspace


def _step(tiny: TinyDecoder) -> Any:
    """For any number of tokens."""
    T = script()
    vocabulary, longest = tiny.vocabulary_size, tiny.context_length
    position_offset = vocabulary * WIDTH
    head_offset = position_offset + longest * WIDTH
    scale = float(np.float32(HEAD_SIZE**-0.5))

    @T.prim_func(s_tir=True)
    def step(
        input_ids: T.handle,
        past_length: T.handle,
        new_length: T.handle,
        logit_positions: T.handle,
        past_key: T.handle,
        past_value: T.handle,
        logits: T.handle,
        weights: T.handle,
        workspace: T.handle,
        threads: T.int32,
    ):
        B, S, N, C = T.int64(), T.int64(), T.int64(), T.int64()
        bytes_of_weights, bytes_of_workspace = T.int64(), T.int64()
        ids = T.match_buffer(input_ids, (B, S), "int64")
        past = T.match_buffer(past_length, (B,), "int64")
        new = T.match_buffer(new_length, (B,), "int64")
        wanted = T.match_buffer(logit_positions, (B, N), "int64")
        key = T.match_buffer(past_key, (B, HEADS, C, HEAD_SIZE), "float32")
        value = T.match_buffer(past_value, (B, HEADS, C, HEAD_SIZE), "float32")
        out = T.match_buffer(logits, (B, N, vocabulary), "float32")
        blob = T.match_buffer(weights, (bytes_of_weights,), "uint8")
        space = T.match_buffer(workspace, (bytes_of_workspace,), "uint8")
        numbers = T.decl_buffer((head_offset + WIDTH * vocabulary,), "float32", data=blob.data)
        scores = T.decl_buffer((B, C + 3), "float32", data=space.data, elem_offset=PAGE // 4)
        # Each thread has its own rows.
        for thread in T.parallel(threads):
            for row in range(B):
                if row % T.Cast("int64", threads) == T.Cast("int64", thread):
                    for s, h, d in T.grid(new[row], HEADS, HEAD_SIZE):
                        place: T.int64 = past[row] + s
                        learned: T.int64 = position_offset + T.min(place, T.int64(longest - 1)) * WIDTH
                        key[row, h, place, d] = (
                            numbers[ids[row, s] * WIDTH + h * HEAD_SIZE + d] + numbers[learned + h * HEAD_SIZE + d]
                        )
                        value[row, h, place, d] = key[row, h, place, d]
                    for n, token in T.grid(N, vocabulary):
                        out[row, n, token] = T.float32(0)
                    for n, h in T.grid(N, HEADS):
                        query: T.int64 = past[row] + wanted[row, n]
                        scores[row, C] = T.float32(-1e30)
                        for j in range(query + 1):
                            scores[row, j] = T.float32(0)
                            for d in range(HEAD_SIZE):
                                scores[row, j] += key[row, h, query, d] * key[row, h, j, d] * T.float32(scale)
                            scores[row, C] = T.max(scores[row, C], scores[row, j])
                        scores[row, C + 1] = T.float32(0)
                        for j in range(query + 1):
                            scores[row, j] = T.exp(scores[row, j] - scores[row, C])
                            scores[row, C + 1] += scores[row, j]
                        for d in range(HEAD_SIZE):
                            scores[row, C + 2] = T.float32(0)
                            for j in range(query + 1):
                                scores[row, C + 2] += scores[row, j] * value[row, h, j, d]
                            for token in range(vocabulary):
                                out[row, n, token] += (
                                    key[row, h, query, d] + scores[row, C + 2] / scores[row, C + 1]
                                ) * numbers[head_offset + (h * HEAD_SIZE + d) * vocabulary + token]

    return step
