"""A tiny decoder in ONNX that obeys the artifact's contract, and the same decoder in numpy without a cache.

One attention layer over embeddings with learned positions, so that a wrong position, length, mask, rewind or row
changes the logits. The cache is written by TensorScatter or by GroupQueryAttention, both in place on a shared buffer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graphwright.runtime.artifact import ArtifactWriter, CacheSpec, ModelInfo, Program, TensorSpec

HEADS, HEAD_SIZE = 2, 8
WIDTH = HEADS * HEAD_SIZE
CACHES = (("past.0.key", "present.0.key"), ("past.0.value", "present.0.value"))

Dialect = Literal["scatter", "contrib"]
Floats = np.ndarray[tuple[int, ...], np.dtype[np.float32]]


@dataclass(frozen=True)
class TinyDecoder:
    """The weights, drawn from `seed`, and the reference."""

    vocabulary_size: int = 40
    context_length: int = 32
    seed: int = 0

    @property
    def weights(self) -> dict[str, Floats]:
        generator = np.random.default_rng(self.seed)
        shapes = {
            "embedding": (self.vocabulary_size, WIDTH),
            "position": (self.context_length, WIDTH),
            "head": (WIDTH, self.vocabulary_size),
        }
        return {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}

    def logits(self, token_ids: list[int]) -> Floats:
        """Logits [S, V] of one fresh sequence, every position attending to itself and all before."""
        weights = self.weights
        x = weights["embedding"][token_ids] + weights["position"][: len(token_ids)]
        heads = x.reshape(-1, HEADS, HEAD_SIZE).transpose(1, 0, 2)
        scores = heads @ heads.transpose(0, 2, 1) / np.sqrt(HEAD_SIZE)
        scores = np.where(np.tri(len(token_ids), dtype=bool), scores, -np.inf)
        probabilities = np.exp(scores - scores.max(-1, keepdims=True))
        probabilities /= probabilities.sum(-1, keepdims=True)
        attended = (probabilities @ heads).transpose(1, 0, 2).reshape(-1, WIDTH)
        return (x + attended) @ weights["head"]

    def greedy(self, prompt: list[int], count: int, end: frozenset[int] = frozenset()) -> list[int]:
        tokens = list(prompt)
        for _ in range(count):
            tokens.append(int(self.logits(tokens)[-1].argmax()))
            if tokens[-1] in end:
                break
        return tokens[len(prompt) :]


def decoder_model(tiny: TinyDecoder, dialect: Dialect = "scatter") -> onnx.ModelProto:
    graph = _Graph(tiny.weights)
    # Positions of the new tokens: past_length + 0, 1, … S-1, as [B, S].
    graph.add("Shape", ["input_ids"], "length", start=1, end=2)
    graph.add("Squeeze", ["length"], "length_scalar")
    graph.add("Range", ["zero", "length_scalar", "one"], "offsets")
    graph.add("Unsqueeze", ["past_length", "axis1"], "past_column")
    graph.add("Add", ["past_column", "offsets"], "positions")
    graph.add("Gather", ["embedding", "input_ids"], "embedded")
    # Padding may stand beyond the last learned position.
    graph.add("Min", ["positions", "last_position"], "safe_positions")
    graph.add("Gather", ["position", "safe_positions"], "placed")
    graph.add("Add", ["embedded", "placed"], "x")
    graph.add("Add", ["past_length", "new_length"], "total")
    (_attend_scatter if dialect == "scatter" else _attend_contrib)(graph)
    graph.add("Add", ["x", "attended"], "y")
    graph.add("Unsqueeze", ["logit_positions", "axis2"], "wanted")
    graph.add("GatherND", ["y", "wanted"], "chosen", batch_dims=1)
    graph.add("MatMul", ["chosen", "head"], "logits")
    integers = {
        "input_ids": ["B", "S"],
        "past_length": ["B"],
        "new_length": ["B"],
        "logit_positions": ["B", "N"],
    }
    cache_shape = ["B", HEADS, "C", HEAD_SIZE]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, s) for n, s in integers.items()]
    inputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, cache_shape) for n, _ in CACHES]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", "N", tiny.vocabulary_size])]
    outputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, cache_shape) for _, n in CACHES]
    return graph.model(inputs, outputs)


def _attend_scatter(graph: "_Graph") -> None:
    graph.add("Reshape", ["x", "split"], "x4")
    graph.add("Transpose", ["x4"], "heads", perm=[0, 2, 1, 3])
    for past, present in CACHES:
        graph.add("TensorScatter", [past, "heads", "past_length"], present, axis=2)
    graph.add("Transpose", [CACHES[0][1]], "keys", perm=[0, 1, 3, 2])
    graph.add("MatMul", ["heads", "keys"], "products")
    graph.add("Mul", ["products", "scale"], "scores")
    # Key j is visible to the query at position p when j <= p, and never beyond the row's real tokens.
    graph.add("Shape", [CACHES[0][1]], "capacity", start=2, end=3)
    graph.add("Squeeze", ["capacity"], "capacity_scalar")
    graph.add("Range", ["zero", "capacity_scalar", "one"], "slots")
    graph.add("Unsqueeze", ["positions", "axes13"], "query_positions")
    graph.add("LessOrEqual", ["slots", "query_positions"], "causal")
    graph.add("Unsqueeze", ["total", "axes123"], "row_total")
    graph.add("Less", ["slots", "row_total"], "real")
    graph.add("And", ["causal", "real"], "visible")
    graph.add("Where", ["visible", "scores", "minus_infinity"], "masked")
    graph.add("Softmax", ["masked"], "probabilities", axis=-1)
    graph.add("MatMul", ["probabilities", CACHES[1][1]], "mixed")
    graph.add("Transpose", ["mixed"], "mixed4", perm=[0, 2, 1, 3])
    graph.add("Reshape", ["mixed4", "merge"], "attended")


def _attend_contrib(graph: "_Graph") -> None:
    graph.add("Sub", ["total", "one"], "last")
    graph.add("Cast", ["last"], "seqlens_k", to=TensorProto.INT32)
    graph.add("ReduceMax", ["total"], "longest", keepdims=0)
    graph.add("Cast", ["longest"], "total_sequence_length", to=TensorProto.INT32)
    graph.nodes.append(
        helper.make_node(
            "GroupQueryAttention",
            ["x", "x", "x", CACHES[0][0], CACHES[1][0], "seqlens_k", "total_sequence_length"],
            ["attended", CACHES[0][1], CACHES[1][1]],
            domain="com.microsoft",
            num_heads=HEADS,
            kv_num_heads=HEADS,
        )
    )


class _Graph:
    def __init__(self, weights: Mapping[str, Floats]) -> None:
        self.nodes: list[onnx.NodeProto] = []
        constants = {
            "zero": np.array(0),
            "one": np.array(1),
            "axis1": np.array([1]),
            "axis2": np.array([2]),
            "axes13": np.array([1, 3]),
            "axes123": np.array([1, 2, 3]),
            "split": np.array([0, 0, HEADS, HEAD_SIZE]),
            "merge": np.array([0, 0, WIDTH]),
            "last_position": np.array(len(weights["position"]) - 1),
            "scale": np.array(HEAD_SIZE**-0.5, dtype=np.float32),
            "minus_infinity": np.array(-np.inf, dtype=np.float32),
            **weights,
        }
        self._constants = [numpy_helper.from_array(value, name) for name, value in constants.items()]

    def add(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))

    def model(self, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]) -> onnx.ModelProto:
        used = {name for node in self.nodes for name in node.input}
        constants = [constant for constant in self._constants if constant.name in used]
        graph = helper.make_graph(self.nodes, "tiny", inputs, outputs, constants)
        opsets = [helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=11)


def program_entry(tiny: TinyDecoder, dialect: Dialect = "scatter") -> Program:
    cache_shape = ("batch", HEADS, "capacity", HEAD_SIZE)
    return Program(
        kind="decoder",
        backend="onnx",
        dialect=dialect,
        file="model.onnx",
        inputs={
            "input_ids": TensorSpec(dtype="int64", shape=("batch", "sequence")),
            "past_length": TensorSpec(dtype="int64", shape=("batch",)),
            "new_length": TensorSpec(dtype="int64", shape=("batch",)),
            "logit_positions": TensorSpec(dtype="int64", shape=("batch", "positions")),
        },
        outputs={"logits": TensorSpec(dtype="float32", shape=("batch", "positions", tiny.vocabulary_size))},
        cache=tuple(
            CacheSpec(input=past, output=present, dtype="float32", shape=cache_shape) for past, present in CACHES
        ),
    )


def write_artifact(
    path: Path,
    tiny: TinyDecoder,
    *,
    dialect: Dialect = "scatter",
    files: Mapping[str, str] | None = None,
    bos: tuple[int, ...] = (1,),
    eos: tuple[int, ...] = (),
    program: Program | None = None,
) -> Path:
    """Write `tiny` as an artifact with further text `files` to `path`, and return `path`."""
    with ArtifactWriter(path) as writer:
        writer.add_bytes("model.onnx", decoder_model(tiny, dialect).SerializeToString())
        for name, text in (files or {}).items():
            writer.add_text(name, text)
        writer.commit(
            producer="tests",
            model=ModelInfo(
                name="tiny",
                architecture="TinyDecoder",
                parameters=sum(weight.size for weight in tiny.weights.values()),
                vocabulary_size=tiny.vocabulary_size,
                context_length=tiny.context_length,
                bos_token_ids=bos,
                eos_token_ids=eos,
            ),
            program=program or program_entry(tiny, dialect),
        )
    return path
