"""A decoder with an encoder, a recurrent state and a ring, in C: everything that two buffers are needed for.

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
from tests.runtime.native_libraries import export

VOCABULARY, PLACES = 10, 4
CONTEXT = {"context.0": TensorSpec(dtype="float32", shape=("batch", 1))}


def logits(context: list[float], tokens: list[int]) -> np.ndarray[Any, Any]:
    """float32 [V] after all tokens."""
    return np.arange(VOCABULARY, dtype=np.float32) * (sum(tokens) + sum(context) + tokens[-1])


def write_recurrent(path: Path) -> Path:
    with ArtifactWriter(path) as writer:
        writer.add_bytes("weights.safetensors", bytes(64))
        export({"prefill": (_STEP, "0")}, writer.folder / "program.so")
        export({"encode": (_ENCODE, "0")}, writer.folder / "encoder.so")
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


_ENCODE = """
    const float *features = (void *)given[0].data;
    const int64_t *lengths = (void *)given[1].data;
    for (int64_t b = 0; b < given[0].shape[0]; b++) {
        ((float *)given[2].data)[b] = 0;
        for (int64_t i = 0; i < lengths[b]; i++)
            ((float *)given[2].data)[b] += features[b * given[0].shape[1] + i];
    }
"""

_STEP = """
    enum { PLACES = 4, VOCABULARY = 10 };
    const int64_t B = given[0].shape[0], S = given[0].shape[1], N = given[3].shape[1];
    const int64_t *ids = (void *)given[0].data, *past = (void *)given[1].data, *new = (void *)given[2].data;
    const float *context = (void *)given[4].data;
    const int64_t *ring = (void *)given[5].data;
    const float *state = (void *)given[6].data;
    int64_t *next_ring = (void *)given[7].data;
    float *next_state = (void *)given[8].data, *logits = (void *)given[9].data;
    for (int64_t b = 0; b < B; b++) {
        next_state[b] = state[b];
        for (int place = 0; place < PLACES; place++)
            next_ring[b * PLACES + place] = ring[b * PLACES + place];
        for (int64_t s = 0; s < new[b]; s++) {
            next_state[b] += (float)ids[b * S + s];
            next_ring[b * PLACES + (past[b] + s) % PLACES] = ids[b * S + s];
        }
        for (int64_t n = 0; n < N; n++)
            for (int v = 0; v < VOCABULARY; v++)
                logits[(b * N + n) * VOCABULARY + v] =
                    (float)v * (next_state[b] + context[b] +
                                (float)next_ring[b * PLACES + (past[b] + new[b] - 1) % PLACES]);
    }
"""
