"""The tiny decoder as a library in C, which obeys the same contract as the one in ONNX. Nothing in it is fast."""

from __future__ import annotations

from pathlib import Path

from graphwright.runtime.artifact import ArtifactWriter, FunctionSpec, ModelInfo, Program
from tests.runtime.native_libraries import export, weights_blob
from tests.runtime.program import HEAD_SIZE, HEADS, TinyDecoder, program_entry

DECODE = {"batch": 1, "sequence": 1, "positions": 1}
DIMENSIONS = ("batch", "sequence", "positions", "capacity")


def native_program(tiny: TinyDecoder) -> Program:
    entry = program_entry(tiny).model_dump()
    functions = FunctionSpec(name="decode", fixed=DECODE), FunctionSpec(name="prefill")
    entry |= {"backend": "tvm", "dialect": "", "file": "program.so", "weights": "weights.bin"}
    return Program.model_validate(entry | {"functions": functions, "dimensions": DIMENSIONS})


def write_native_artifact(path: Path, tiny: TinyDecoder, program: Program | None = None) -> Path:
    """Write `tiny` as an artifact to `path`, and return `path`."""
    weights = tiny.weights
    order = ("embedding", "position", "head")
    with ArtifactWriter(path) as writer:
        writer.add_bytes("weights.bin", weights_blob([weights[name] for name in order]))
        step = "run_on_threads(rows_of, given, (position){0, 0, 0}, threads);", "4 * sizes[0] * (sizes[3] + 3)"
        export({"decode": step, "prefill": step}, writer.folder / "program.so", _rows_of(tiny))
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
            program=program or native_program(tiny),
        )
    return path


def _rows_of(tiny: TinyDecoder) -> str:
    """A step of any number of tokens, of which each thread has its own rows. A row has workspace for a score of each
    place, their greatest, their sum and a mean."""
    sizes = {"VOCABULARY": tiny.vocabulary_size, "LONGEST": tiny.context_length, "HEADS": HEADS, "SIZE": HEAD_SIZE}
    return "\n".join(f"enum {{ {name} = {size} }};" for name, size in sizes.items()) + _STEP


_STEP = """
enum { WIDTH = HEADS * SIZE };
#include <math.h>
static void rows_of(member *me, const void *job) {
    const tensor *given = job;
    const int64_t *ids = (void *)given[0].data, *past = (void *)given[1].data, *new = (void *)given[2].data;
    const int64_t *wanted = (void *)given[3].data;
    float *key = (void *)given[4].data, *value = (void *)given[5].data, *out = (void *)given[6].data;
    const float *embedding = (void *)given[7].data, *learned = embedding + VOCABULARY * WIDTH;
    const float *head = learned + LONGEST * WIDTH;
    const int64_t B = given[0].shape[0], S = given[0].shape[1], N = given[3].shape[1], C = given[4].shape[2];
    for (int64_t row = me->part; row < B; row += me->parts) {
        float *scores = (float *)given[8].data + row * (C + 3);
#define AT(cache, h, place, d) cache[((row * HEADS + (h)) * C + (place)) * SIZE + (d)]
        for (int64_t s = 0; s < new[row]; s++)
            for (int h = 0; h < HEADS; h++)
                for (int d = 0; d < SIZE; d++) {
                    const int64_t place = past[row] + s, known = place < LONGEST ? place : LONGEST - 1;
                    AT(key, h, place, d) = embedding[ids[row * S + s] * WIDTH + h * SIZE + d] +
                                           learned[known * WIDTH + h * SIZE + d];
                    AT(value, h, place, d) = AT(key, h, place, d);
                }
        for (int64_t n = 0; n < N; n++) {
            float *logits = out + (row * N + n) * VOCABULARY;
            const int64_t query = past[row] + wanted[row * N + n];
            for (int token = 0; token < VOCABULARY; token++)
                logits[token] = 0;
            for (int h = 0; h < HEADS; h++) {
                float greatest = -1e30f, sum = 0;
                for (int64_t j = 0; j <= query; j++) {
                    scores[j] = 0;
                    for (int d = 0; d < SIZE; d++)
                        scores[j] += AT(key, h, query, d) * AT(key, h, j, d) / sqrtf(SIZE);
                    greatest = scores[j] > greatest ? scores[j] : greatest;
                }
                for (int64_t j = 0; j <= query; j++)
                    sum += scores[j] = expf(scores[j] - greatest);
                for (int d = 0; d < SIZE; d++) {
                    float mean = 0;
                    for (int64_t j = 0; j <= query; j++)
                        mean += scores[j] * AT(value, h, j, d);
                    const float x = AT(key, h, query, d) + mean / sum;
                    for (int token = 0; token < VOCABULARY; token++)
                        logits[token] += x * head[(h * SIZE + d) * VOCABULARY + token];
                }
            }
        }
    }
    meet(me, 0);
}
"""
