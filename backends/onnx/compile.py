"""Writes artifacts: a program in, a folder out that the runtime loads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from graphwright.backends.onnx.assets import asset_files
from graphwright.backends.onnx.capabilities import select_target
from graphwright.backends.onnx.decoder import (
    FUNCTION,
    LOGITS,
    cache_names,
    decoder_graph,
    encoder_graph,
    function_graph,
    is_decoder,
)
from graphwright.backends.onnx.element_types import MANIFEST_NAMES
from graphwright.backends.onnx.legalize import legalize
from graphwright.backends.onnx.lower import shape_names
from graphwright.backends.onnx.model_file import ENCODER_FILE, MODEL_FILE, write_models
from graphwright.backends.onnx.weights_file import PACKED
from graphwright.ir import ops
from graphwright.ir.attributes import Attribute
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Value
from graphwright.ir.program import Program
from graphwright.ir.rewriting import Outcome
from graphwright.ir.storage import stored_bytes
from graphwright.ir.text import print_program
from graphwright.ir.types import DType, StateType, TensorType, tensor
from graphwright.ir.weights import Applied, StoredArray, StoredFile, Weight, WeightExpression, remembering_quantized
from graphwright.runtime.artifact import (
    ArtifactWriter,
    CacheSpec,
    EncoderSpec,
    Manifest,
    ModelInfo,
    StateSpec,
    TensorSpec,
)
from graphwright.runtime.artifact import Program as ProgramInfo

WEIGHTS_FILE = "weights.safetensors"
GRAPH_FILE = "graph.gw"
UNBOUNDED_CONTEXT = 1 << 20
"""Tokens: what a model is said to take that is recurrent throughout and states no limit."""


@dataclass(frozen=True)
class BuildReport:
    """What was written, and what legalization did to get there."""

    manifest: Manifest
    legalization: Outcome


def build_artifact(
    program: Program, folder: str | Path, *, dialect: str = "ort", assets: str | Path | None = None
) -> BuildReport:
    """Writes the artifact of a program: a decoder (graphs `prefill` and `decode`, maybe `encode` before them) or a
    function (graph `forward`).

    `dialect` is `ort` (contrib operators of ONNX Runtime) or `portable` (standard operators only). `assets` is the
    checkpoint folder whose tokenizer and configuration files go along. The program is left as it is; the folder appears
    whole or not at all. Raises `UserError` (with what to do) and the runtime's `ArtifactError`.
    """
    target = select_target(dialect)
    program = program.clone()
    graph = decoder_graph(program) if is_decoder(program) else function_graph(program)
    encoder = encoder_graph(program) if is_decoder(program) else None
    files = {MODEL_FILE: graph} if encoder is None else {ENCODER_FILE: encoder, MODEL_FILE: graph}
    program.graphs = {each.name: each for each in files.values()}
    # Before legalization adds weights of its own.
    model = _model_info(program, graph)
    outcome = Outcome()
    for each in files.values():
        outcome.merge(legalize(program, each, target))
    with ArtifactWriter(folder) as writer:
        weights = write_models(files, program.name, writer.folder, WEIGHTS_FILE, contrib=dialect == "ort")
        with remembering_quantized():
            writer.add_text(GRAPH_FILE, print_program(_written(program, weights)))
        for source in asset_files(assets):
            writer.add_copy(source)
        manifest = writer.commit(
            producer=f"graphwright {version('graphwright')}",
            model=model,
            program=_program_info(graph, encoder, dialect),
        )
    return BuildReport(manifest, outcome)


def _written(program: Program, external: list[Weight]) -> Program:
    """The program as text shows it: whatever is large lies in the artifact's own file, the rest is spelt out."""
    shown = Program(program.name)
    shown.metadata = dict(program.metadata)
    files = {w.name: _stored(w) for w in external}
    places = {w.expression: files[w.name] for w in external}
    for value in (v for graph in program.graphs.values() for v in graph.weights):
        weight = value.weight
        assert weight is not None
        if weight.name not in shown.weights:
            shown.weights[weight.name] = Weight(weight.name, files.get(weight.name) or _shown(weight, places))
    shown.graphs = dict(program.graphs)
    return shown


def _shown(weight: Weight, places: Mapping[WeightExpression, WeightExpression]) -> WeightExpression:
    """The expression of a weight that the file does not have by its name."""
    expression = weight.expression
    if expression in places:
        return places[expression]
    if isinstance(expression, Applied) and all(e in places for e in expression.operands if e is not None):
        operands = tuple(None if e is None else places[e] for e in expression.operands)
        if operands:
            return Applied(expression.definition, operands, expression.attributes, expression.type)
    assert isinstance(weight.type, TensorType), "legalized graphs have tensors only"
    return StoredArray(weight.evaluate(), weight.type)


def _stored(weight: Weight) -> WeightExpression:
    assert isinstance(weight.type, TensorType)
    if weight.type.dtype not in PACKED:
        return StoredFile(WEIGHTS_FILE, weight.name, weight.type)
    count = weight.type.elements.evaluate({})
    packed = StoredFile(WEIGHTS_FILE, weight.name, tensor(DType.U8, stored_bytes(weight)))
    codes = Applied.of(ops.unpack_bits, (packed,), {"to": weight.type.dtype, "length": count})
    return Applied.of(ops.reshape, (codes,), {"shape": weight.type.shape})


def _model_info(program: Program, graph: Graph) -> ModelInfo:
    facts = program.metadata
    counted = sum(d.constant or 0 for d in (w.type.elements for w in program.weights.values()))
    parameters = facts.get("parameters", counted)
    assert isinstance(parameters, int)
    return ModelInfo(
        name=program.name,
        architecture=str(facts.get("architecture", "")),
        parameters=parameters,
        vocabulary_size=_optional_int(facts.get("vocabulary_size")),
        context_length=_optional_int(facts.get("context_length", _unbounded(graph))),
        bos_token_ids=_ids(facts.get("bos_token_ids")),
        eos_token_ids=_ids(facts.get("eos_token_ids")),
        pad_token_id=_optional_int(facts.get("pad_token_id")),
        decoder_start_token_id=_optional_int(facts.get("decoder_start_token_id")),
    )


def _unbounded(graph: Graph) -> int | None:
    """The context of a decoder that keeps nothing of each token: as long as anyone may want."""
    kept = [v for v in graph.inputs if isinstance(v.type, StateType)]
    return UNBOUNDED_CONTEXT if kept and all(map(_is_recurrent, kept)) else None


def _optional_int(value: Attribute) -> int | None:
    return value if isinstance(value, int) else None


def _ids(value: Attribute) -> tuple[int, ...]:
    return tuple(v for v in value if isinstance(v, int)) if isinstance(value, tuple) else ()


def _program_info(graph: Graph, encoder: Graph | None, dialect: str) -> ProgramInfo:
    kept = cache_names(graph)
    pairs = [(name, output, graph.input(name)) for name, output in kept.items()]
    return ProgramInfo(
        kind="decoder" if LOGITS in graph.outputs and graph.name != FUNCTION else "function",
        backend="onnx",
        dialect=dialect,
        file=MODEL_FILE,
        inputs={str(v.name): _spec(str(v.name), v) for v in graph.inputs if v.name not in kept},
        outputs={name: _spec(name, v) for name, v in graph.outputs.items() if name not in kept.values()},
        cache=tuple(_cache(*pair) for pair in pairs if not _is_recurrent(pair[2])),
        states=tuple(_state(*pair) for pair in pairs if _is_recurrent(pair[2])),
        encoder=None if encoder is None else _encoder(encoder),
    )


def _encoder(graph: Graph) -> EncoderSpec:
    return EncoderSpec(
        file=ENCODER_FILE,
        inputs={str(v.name): _spec(str(v.name), v) for v in graph.inputs},
        outputs={name: _spec(name, v) for name, v in graph.outputs.items()},
    )


def _spec(name: str, value: Value) -> TensorSpec:
    type = value.tensor
    if type.dtype not in MANIFEST_NAMES:
        raise UnsupportedError(f"'{name}' is {type}; a program cannot exchange {type.dtype}")
    return TensorSpec(dtype=MANIFEST_NAMES[type.dtype], shape=tuple(shape_names(type.shape)))


def _cache(name: str, output: str, value: Value) -> CacheSpec:
    spec = _spec(name, value)
    if not isinstance(value.type, StateType) or len(spec.shape) != 4:
        raise UnsupportedError(f"'{name}' is {value.type}; a cache must be [B, heads, C, size]")
    (batch, heads, capacity, size), layout = spec.shape, value.type.layout
    if batch == "batch" and isinstance(heads, int) and isinstance(size, int):
        if layout == "contiguous" and capacity == "capacity":
            shape = "batch", heads, "capacity", size
            return CacheSpec(input=name, output=output, dtype=spec.dtype, layout="contiguous", shape=shape)
        if layout == "ring" and isinstance(capacity, int):
            shape = "batch", heads, capacity, size
            return CacheSpec(input=name, output=output, dtype=spec.dtype, layout="ring", shape=shape)
    raise UnsupportedError(f"'{name}' is {value.type}; a cache must be [B, heads, C, size], C a number for a ring")


def _is_recurrent(value: Value) -> bool:
    return isinstance(value.type, StateType) and value.type.layout == "recurrent"


def _state(name: str, output: str, value: Value) -> StateSpec:
    spec = _spec(name, value)
    sizes = [size for size in spec.shape[1:] if isinstance(size, int)]
    if spec.shape[0] != "batch" or len(sizes) != len(spec.shape) - 1:
        raise UnsupportedError(f"'{name}' is {value.type}; a recurrent state must be [B, …] of fixed size")
    return StateSpec(input=name, output=output, dtype=spec.dtype, shape=("batch", *sizes))
