"""What a manifest says of a program: the model, and the type of each tensor that crosses the program's border."""

from collections.abc import Sequence

from graphwright.backends.element_types import MANIFEST_NAMES
from graphwright.ir.attributes import Attribute
from graphwright.ir.convention import (
    ARCHITECTURE,
    BATCH,
    BOS_TOKEN_IDS,
    CAPACITY,
    DECODER_START_TOKEN_ID,
    EOS_TOKEN_IDS,
    PAD_TOKEN_ID,
    PARAMETERS,
    POSITIONS,
    SEQUENCE,
    context_window,
    vocabulary_size,
)
from graphwright.ir.dims import Dim
from graphwright.ir.errors import UnsupportedError
from graphwright.ir.graph import Graph, Value
from graphwright.ir.program import Program
from graphwright.ir.types import StateType
from graphwright.runtime.artifact import CacheSpec, ModelInfo, StateSpec, TensorSpec

DIMENSION_NAMES = {BATCH: "batch", SEQUENCE: "sequence", POSITIONS: "positions", CAPACITY: "capacity"}
UNBOUNDED_CONTEXT = 1 << 20
"""Tokens: what a model is said to take that is recurrent throughout and states no limit."""


def model_info(program: Program, graph: Graph) -> ModelInfo:
    facts = program.metadata
    counted = sum(d.constant or 0 for d in (w.type.elements for w in program.weights.values()))
    parameters = facts.get(PARAMETERS, counted)
    assert isinstance(parameters, int)
    return ModelInfo(
        name=program.name,
        architecture=str(facts.get(ARCHITECTURE, "")),
        parameters=parameters,
        vocabulary_size=vocabulary_size(program),
        context_length=context_window(program) or _unbounded(graph),
        bos_token_ids=_ids(facts.get(BOS_TOKEN_IDS)),
        eos_token_ids=_ids(facts.get(EOS_TOKEN_IDS)),
        pad_token_id=_optional_int(facts.get(PAD_TOKEN_ID)),
        decoder_start_token_id=_optional_int(facts.get(DECODER_START_TOKEN_ID)),
    )


def _unbounded(graph: Graph) -> int | None:
    """The context of a decoder that keeps nothing of each token: as long as anyone may want."""
    kept = [v for v in graph.inputs if isinstance(v.type, StateType)]
    return UNBOUNDED_CONTEXT if kept and all(map(is_recurrent, kept)) else None


def _optional_int(value: Attribute) -> int | None:
    return value if isinstance(value, int) else None


def _ids(value: Attribute) -> tuple[int, ...]:
    return tuple(v for v in value if isinstance(v, int)) if isinstance(value, tuple) else ()


def shape_names(shape: Sequence[Dim]) -> list[int | str]:
    """A shape as the border of a program states it: numbers, and names of dynamic dimensions."""
    return [DIMENSION_NAMES.get(str(d), str(d)) if d.constant is None else d.constant for d in shape]


def tensor_spec(name: str, value: Value) -> TensorSpec:
    type = value.tensor
    if type.dtype not in MANIFEST_NAMES:
        raise UnsupportedError(f"'{name}' is {type}; a program cannot exchange {type.dtype}")
    return TensorSpec(dtype=MANIFEST_NAMES[type.dtype], shape=tuple(shape_names(type.shape)))


def cache_spec(name: str, output: str, value: Value) -> CacheSpec:
    spec = tensor_spec(name, value)
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


def is_recurrent(value: Value) -> bool:
    return isinstance(value.type, StateType) and value.type.layout == "recurrent"


def state_spec(name: str, output: str, value: Value) -> StateSpec:
    spec = tensor_spec(name, value)
    sizes = [size for size in spec.shape[1:] if isinstance(size, int)]
    if spec.shape[0] != "batch" or len(sizes) != len(spec.shape) - 1:
        raise UnsupportedError(f"'{name}' is {value.type}; a recurrent state must be [B, …] of fixed size")
    return StateSpec(input=name, output=output, dtype=spec.dtype, shape=("batch", *sizes))
