"""Caches of codes in both dialects: against the interpreter, in ragged batches, as the runtime keeps them, in bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.coverage.continuation import continued_logits
from benchmarks.coverage.engines import interpreted, loaded
from benchmarks.prices import bound_bytes, counted_bytes, predicted_bytes
from graphwright.backends.interface import Companions
from graphwright.compiling.compiled import CompiledModel
from graphwright.compiling.lowering import build_artifact, export_folder
from graphwright.ir import Program, UnsupportedError
from graphwright.passes import parse_passes, run_passes
from graphwright.reporting.pipeline_report import Workload
from graphwright.reporting.pricing import memory_points, price_program
from graphwright.runtime import KVCache, load
from tests.backends.models import MODELS, decoder
from tests.backends.quantizing import Scheme
from tests.backends.quantizing import quantized as rounded
from tests.backends.running import InPlace, continued, vocabulary
from tests.backends.test_models import STEPS
from tests.backends.ties import follow
from tests.tensors import listed

BATCH, CAPACITY = 3, 26
SPECS = {
    "tensor8": "bits=8, keys=tensor, values=tensor",
    "channel8": "bits=8",
    "mixed8": "bits=8, values=tensor",
    "token8": "bits=8, values=token",
    "channel4": "bits=4",
    "token4": "bits=4, values=token",
}
KINDS = ("llama", "stories", "odd-heads", "gemma2", "gpt-oss", "alibi", "mixed-heads")
"""Rotation inside attention and outside; heads that do not fit; windows, caps; sinks; biases; padding that is NaN."""


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokens") / "tokens.npy"
    np.save(path, np.random.default_rng(1).integers(0, 48, (6, 24)))
    return path


def quantized(name: str, spec: str, tokens: Path) -> Program:
    program = decoder(MODELS[name])
    run_passes(program, parse_passes(f"quantize-cache{{{SPECS[spec]}, tokens={tokens}}}"))
    return program


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize(
    ("name", "spec"), [*((n, s) for n in ("llama", "stories") for s in SPECS), *((n, "channel4") for n in KINDS[2:])]
)
def test_compiled_model_equals_the_interpreter(
    name: str, spec: str, dialect: str, tokens: Path, tmp_path: Path
) -> None:
    program = quantized(name, spec, tokens)
    report = build_artifact(program, tmp_path / "model", dialect=dialect)
    fused = dialect == "ort" and "token" not in spec and name not in ("odd-heads", "alibi")
    assert (report.lowering.hits["group-query-attention"] > 0) == fused
    model = load(tmp_path / "model", threads=1)
    random = np.random.default_rng(7)
    rows = [torch.as_tensor(random.integers(0, 48, n)) for n in (25, 17, 9)]
    chunks = [length for length, _ in STEPS] + [1] * 7
    for row, logits in zip(rows, continued_logits(loaded(model), rows, chunks, 44), strict=True):
        follow(program.graphs["prefill"], listed(row), logits.numpy())


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("spec", ["channel8", "token4"])
def test_weights_and_activations_in_few_bits_too(spec: str, dialect: str, tokens: Path, tmp_path: Path) -> None:
    program = rounded(decoder(MODELS["stories"]), Scheme("i4", 32, 32))
    run_passes(program, parse_passes(f"quantize-cache{{{SPECS[spec]}, tokens={tokens}}}"))
    build_artifact(program, tmp_path / "model", dialect=dialect)
    ids = np.random.default_rng(0).integers(0, 48, (2, 40)).tolist()
    for row, logits in zip(ids, load(tmp_path / "model", threads=1).logits(ids), strict=True):
        follow(program.graphs["prefill"], row, logits)


@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_codes_in_the_buffers_are_those_of_the_interpreter(dialect: str, tokens: Path, tmp_path: Path) -> None:
    program = quantized("llama", "channel8", tokens)
    build_artifact(program, tmp_path / "model", dialect=dialect)
    graph = program.graphs["prefill"]
    compiled = InPlace(tmp_path / "model" / "model.onnx", graph, BATCH, CAPACITY)
    for row, (ids, logits) in enumerate(continued(compiled, STEPS, vocabulary(program))):
        world = follow(graph, ids, logits)
        for name, buffer in compiled.buffers.items():
            present = name.replace("past.", "present.", 1)
            append = graph.outputs[present].owner
            assert append is not None
            rounding = append.required("new").owner
            off = np.argwhere(buffer.numpy()[row, :, : len(ids)] != world.outputs[present][0].numpy())
            # The logits may be as near whichever code a tie has.
            assert {tuple(at) for at in off.tolist()} <= {tie.element for tie in world.ties if tie.op is rounding}


@pytest.mark.parametrize(("spec", "bytes_"), [("channel8", 16), ("tensor8", 16), ("channel4", 8), ("token4", 8)])
@pytest.mark.parametrize("dialect", ["ort", "portable"])
def test_bytes_are_as_predicted(dialect: str, spec: str, bytes_: int, tokens: Path, tmp_path: Path) -> None:
    program = quantized("llama", spec, tokens)
    build_artifact(program, tmp_path / "model", dialect=dialect)
    model = CompiledModel(tmp_path / "model", threads=1)
    for workload in (
        Workload(batch=1, prefill_length=5, decode_context=6),
        Workload(batch=3, prefill_length=17, decode_context=23),
    ):
        batch, context = workload.batch, workload.decode_context
        layers, heads = 2, 2
        scales = 4 if spec == "token4" else 0
        expected = layers * heads * (2 * bytes_ + scales) * batch * context
        assert KVCache.bytes_for(model.loaded.manifest, batch, context) == expected
        assert bound_bytes(model, batch, context) == expected
        for each in (program, model.graph):
            (point,) = memory_points(each, workload, [context])
            assert point.cache == expected
            prices = price_program(each, workload, None)
            counted = counted_bytes(each, workload)
            assert {phase: predicted_bytes(price) for phase, price in prices.items()} == counted


@pytest.mark.parametrize("dialect", ["ort", "portable"])
@pytest.mark.parametrize("name", ["llama", "gemma2"])
def test_caches_of_f16(name: str, dialect: str, tmp_path: Path) -> None:
    program = decoder(MODELS[name])
    run_passes(program, parse_passes("halve-cache"))
    build_artifact(program, tmp_path / "model", dialect=dialect)
    model = load(tmp_path / "model", threads=1)
    row = torch.as_tensor(np.random.default_rng(7).integers(0, 48, 25))
    chunks = [length for length, _ in STEPS] + [1] * 7
    (logits,) = continued_logits(loaded(model), [row], chunks, 44)
    (expected,) = continued_logits(interpreted(program), [row], [len(row)], 44)
    # A number near the middle between two of f16 may become the other.
    torch.testing.assert_close(logits, expected, rtol=0, atol=2**-11 * float(expected.abs().max()))
    manifest = CompiledModel(tmp_path / "model", threads=1).loaded.manifest
    assert {cache.dtype for cache in (*manifest.program.in_place, *manifest.program.rings)} == {"float16"}


def greedy(folder: Path, prompt: list[int], count: int) -> list[int]:
    model = load(folder, threads=1)
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(int(model.logits(tokens)[0, -1].argmax()))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("spec", ["channel8", "token4"])
def test_a_conversation_goes_on_rewinds_and_forks(spec: str, tokens: Path, tmp_path: Path) -> None:
    program = quantized("llama", spec, tokens)
    program.metadata["eos_token_ids"] = ()
    build_artifact(program, tmp_path / "model")
    conversation = load(tmp_path / "model", threads=1).conversation(max_context=40)
    conversation.append([5, 6, 7])
    first = conversation.complete(max_new_tokens=6).token_ids
    assert first == greedy(tmp_path / "model", [5, 6, 7], 6)
    twin = conversation.fork()
    conversation.append([9])
    assert conversation.complete(max_new_tokens=4).token_ids == greedy(tmp_path / "model", [5, 6, 7, *first, 9], 4)
    twin.rewind(4)
    kept = list(twin.tokens)
    assert twin.complete(max_new_tokens=4).token_ids == greedy(tmp_path / "model", kept, 4)


def test_other_tools_are_refused_caches_of_codes(tokens: Path, tmp_path: Path) -> None:
    program = quantized("llama", "channel8", tokens)
    with pytest.raises(UnsupportedError, match="these tools' caches hold floats; leave quantize-cache out"):
        export_folder(program, tmp_path / "out", layout="genai", companions=Companions(tmp_path))
    assert not (tmp_path / "out").exists()
