# pyright: reportInvalidTypeForm=false, reportUnknownMemberType=false, reportUnknownParameterType=false
# TVM's parser reads the annotations of scripts, Python does not.
"""A decoder with an encoder, a recurrent state and a ring, in TVM: everything that two buffers are needed for.

Its state is the sum of a row's tokens; the ring holds the last tokens; the encoder sums up a context. A token's logit
is the token times the sum of the state behind the step, the context's sum, and the newest token of the ring.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from graphwright.runtime.artifact import (
    ArtifactWriter,
    CacheSpec,
    EncoderSpec,
    FunctionSpec,
    ModelInfo,
    Program,
    StateSpec,
    TensorSpec,
)
from tests.runtime.tvm_libraries import PAGE, export, script

VOCABULARY, PLACES = 10, 4
CONTEXT = {"context.0": TensorSpec(dtype="float32", shape=("batch", 1))}


def logits(context: list[float], tokens: list[int]) -> np.ndarray[Any, Any]:
    """float32 [V] after all tokens."""
    return np.arange(VOCABULARY, dtype=np.float32) * (sum(tokens) + sum(context) + tokens[-1])


def write_recurrent(path: Path) -> Path:
    with ArtifactWriter(path) as writer:
        writer.add_bytes("weights.safetensors", bytes(64))
        export({"prefill": _step(), "prefill_workspace": _workspace(3)}, writer.folder / "program.so")
        export({"encode": _encode(), "encode_workspace": _workspace(2)}, writer.folder / "encoder.so")
        model = ModelInfo(name="r", architecture="R", parameters=0, vocabulary_size=VOCABULARY, context_length=100)
        writer.commit(producer="tests", model=model, program=_program())
    return path


def _program() -> Program:
    integers = {
        "input_ids": ("batch", "sequence"),
        "past_length": ("batch",),
        "new_length": ("batch",),
        "logit_positions": ("batch", "positions"),
    }
    ring = ("batch", 1, PLACES, 1)
    return Program(
        kind="decoder",
        backend="tvm",
        dialect="",
        file="program.so",
        weights="weights.safetensors",
        inputs={name: TensorSpec(dtype="int64", shape=shape) for name, shape in integers.items()} | CONTEXT,
        outputs={"logits": TensorSpec(dtype="float32", shape=("batch", "positions", VOCABULARY))},
        cache=(CacheSpec(input="past.0.key", output="present.0.key", dtype="int64", layout="ring", shape=ring),),
        states=(StateSpec(input="past.1.state", output="present.1.state", dtype="float32", shape=("batch", 1)),),
        functions=(FunctionSpec(name="prefill"),),
        dimensions=("positions", "batch", "sequence"),
        encoder=EncoderSpec(
            file="encoder.so",
            inputs={
                "features": TensorSpec(dtype="float32", shape=("batch", "length")),
                "context_length": TensorSpec(dtype="int64", shape=("batch",)),
            },
            outputs=CONTEXT,
            dimensions=("length", "batch"),
        ),
    )


def _workspace(dimensions: int) -> Any:
    T = script()

    @T.prim_func(s_tir=True)
    def two(a: T.int64, b: T.int64) -> T.int64:
        return T.int64(PAGE)

    @T.prim_func(s_tir=True)
    def three(a: T.int64, b: T.int64, c: T.int64) -> T.int64:
        return T.int64(PAGE)

    return two if dimensions == 2 else three


def _encode() -> Any:
    T = script()

    @T.prim_func(s_tir=True)
    def encode(
        features: T.handle,
        context_length: T.handle,
        result: T.handle,
        weights: T.handle,
        workspace: T.handle,
        threads: T.int32,
    ):
        B, L, bytes_of_weights, bytes_of_workspace = T.int64(), T.int64(), T.int64(), T.int64()
        given = T.match_buffer(features, (B, L), "float32")
        lengths = T.match_buffer(context_length, (B,), "int64")
        out = T.match_buffer(result, (B, 1), "float32")
        T.match_buffer(weights, (bytes_of_weights,), "uint8")
        T.match_buffer(workspace, (bytes_of_workspace,), "uint8")
        for b in range(B):
            out[b, 0] = T.float32(0)
            for i in range(lengths[b]):
                out[b, 0] += given[b, i]

    return encode


def _step() -> Any:
    T = script()

    @T.prim_func(s_tir=True)
    def step(
        input_ids: T.handle,
        past_length: T.handle,
        new_length: T.handle,
        logit_positions: T.handle,
        encoded: T.handle,
        past_ring: T.handle,
        past_state: T.handle,
        present_ring: T.handle,
        present_state: T.handle,
        logits: T.handle,
        weights: T.handle,
        workspace: T.handle,
        threads: T.int32,
    ):
        B, S, N = T.int64(), T.int64(), T.int64()
        bytes_of_weights, bytes_of_workspace = T.int64(), T.int64()
        ids = T.match_buffer(input_ids, (B, S), "int64")
        past = T.match_buffer(past_length, (B,), "int64")
        new = T.match_buffer(new_length, (B,), "int64")
        T.match_buffer(logit_positions, (B, N), "int64")
        context = T.match_buffer(encoded, (B, 1), "float32")
        ring = T.match_buffer(past_ring, (B, 1, PLACES, 1), "int64")
        state = T.match_buffer(past_state, (B, 1), "float32")
        next_ring = T.match_buffer(present_ring, (B, 1, PLACES, 1), "int64")
        next_state = T.match_buffer(present_state, (B, 1), "float32")
        out = T.match_buffer(logits, (B, N, VOCABULARY), "float32")
        T.match_buffer(weights, (bytes_of_weights,), "uint8")
        T.match_buffer(workspace, (bytes_of_workspace,), "uint8")
        for b in range(B):
            next_state[b, 0] = state[b, 0]
            for place in range(PLACES):
                next_ring[b, 0, place, 0] = ring[b, 0, place, 0]
            for s in range(new[b]):
                next_state[b, 0] += T.Cast("float32", ids[b, s])
                next_ring[b, 0, (past[b] + s) % PLACES, 0] = ids[b, s]
            for n, v in T.grid(N, VOCABULARY):
                out[b, n, v] = T.Cast("float32", v) * (
                    next_state[b, 0]
                    + context[b, 0]
                    + T.Cast("float32", next_ring[b, 0, (past[b] + new[b] - 1) % PLACES, 0])
                )

    return step
