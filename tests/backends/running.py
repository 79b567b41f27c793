"""Runs a compiled decoder and the reference interpreter side by side, both over caches that they keep."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from graphwright.ir import Graph, Program
from graphwright.ir.interpreter import Interpreter
from graphwright.ir.torch_types import torch_dtype
from graphwright.runtime.engines.onnxruntime import NO_ROUNDING

onnxruntime = importlib.import_module("onnxruntime")
"""As an untyped module, which it is."""

ROUNDOFF = 2.0**-24
"""Of one float32 operation, relative."""

SLACK = 48
"""How many roundoffs of the largest logit a result may be off: a product over 96 terms rounds about sqrt(96) times its
own size, a few of them follow on each other, and the margin is two. TF32 rounds by 2**-11, 8192 roundoffs."""


def close_enough(reference: np.ndarray[Any, Any]) -> float:
    """The largest error allowed against this reference."""
    return SLACK * ROUNDOFF * float(np.abs(reference).max())


def start(model: Path | bytes) -> Any:
    """An ONNX Runtime session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    options.add_session_config_entry(*NO_ROUNDING)
    source = model if isinstance(model, bytes) else str(model)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class InPlace:
    """A decoder on shared buffers: each past input and its present output are one and the same memory."""

    def __init__(self, model: Path, graph: Graph, batch: int, capacity: int) -> None:
        self.session = start(model)
        self.binding = self.session.io_binding()
        self.buffers: dict[str, Any] = {}
        for name, zeros in empty_caches(graph, batch, capacity).items():
            value = onnxruntime.OrtValue.ortvalue_from_numpy(zeros.numpy())
            self.buffers[name] = value
            self.binding.bind_ortvalue_input(name, value)
            self.binding.bind_ortvalue_output(name.replace("past.", "present.", 1), value)

    def step(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        for name, value in inputs.items():
            self.binding.bind_cpu_input(name, value)
        self.binding.bind_output("logits")
        self.session.run_with_iobinding(self.binding)
        names = [output.name for output in self.session.get_outputs()]
        # Outputs come in the order in which they were bound; logits were bound last.
        assert len(self.binding.get_outputs()) == len(names)
        return self.binding.get_outputs()[-1].numpy()


class Reference:
    """The same decoder in the interpreter."""

    def __init__(self, graph: Graph, batch: int, capacity: int) -> None:
        self.graph = graph
        self.interpreter = Interpreter()
        self.caches = empty_caches(graph, batch, capacity)

    def step(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]:
        given = {name: torch.as_tensor(value) for name, value in inputs.items()}
        out = self.interpreter.run(self.graph, {**given, **self.caches})
        self.caches = {name: out[name.replace("past.", "present.", 1)] for name in self.caches}
        return out["logits"].numpy()


class Steps(Protocol):
    """A batch under way, at whatever is compiled."""

    def step(self, inputs: Mapping[str, np.ndarray[Any, Any]]) -> np.ndarray[Any, Any]: ...


def continued(
    run: Steps, steps: Sequence[tuple[int, Sequence[int]]], vocabulary: int
) -> list[tuple[list[int], np.ndarray[Any, Any]]]:
    """Of each row the random token ids that it took in all steps, and the logits [S, V] at them.

    A step is how many tokens it has, padding included, and how many of each row are real.
    """
    random, past = np.random.default_rng(3), np.zeros(len(steps[0][1]), np.int64)
    ids: list[list[int]] = [[] for _ in past]
    logits: list[list[np.ndarray[Any, Any]]] = [[] for _ in past]
    for length, real in steps:
        new = np.array(real)
        inputs = prefill_inputs(random.integers(0, vocabulary, (len(past), length)), past, new)
        got = run.step(inputs)
        for row, count in enumerate(real):
            ids[row] += inputs["input_ids"][row, :count].tolist()
            logits[row].append(got[row, :count].copy())
        past = past + new
    return [(taken, np.concatenate(parts)) for taken, parts in zip(ids, logits, strict=True)]


def empty_caches(graph: Graph, batch: int, capacity: int) -> dict[str, torch.Tensor]:
    """Zeros for each cache of the graph, by name."""
    states = (v for v in graph.inputs if v.name is not None and v.name.startswith("past."))
    sizes = {"B": batch, "C": capacity}
    return {
        str(v.name): torch.zeros([d.evaluate(sizes) for d in v.type.shape], dtype=torch_dtype(v.tensor.dtype))
        for v in states
    }


def prefill_inputs(
    ids: npt.NDArray[np.int64], past: npt.NDArray[np.int64], new: npt.NDArray[np.int64]
) -> dict[str, npt.NDArray[np.int64]]:
    """Inputs of a step that wants logits everywhere."""
    size: tuple[int, ...] = ids.shape
    everywhere = np.tile(np.arange(size[1]), (size[0], 1))
    return {"input_ids": ids, "past_length": past, "new_length": new, "logit_positions": everywhere}


def vocabulary(program: Program) -> int:
    size = program.metadata["vocabulary_size"]
    assert isinstance(size, int)
    return size
