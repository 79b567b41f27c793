"""OpenVINO as a measured system, exported and compressed by its own tools; runs in `.peers/openvino`."""

from __future__ import annotations

import importlib
import json
import os
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.protocol import serve
from benchmarks.peers.stepping import Logits, SteppingWorker

MODEL_FILE = "model.xml"
WANTED = "wanted_logits"
BUILD_OPTIONS = ("weights",)


class OpenVinoWorker(SteppingWorker):
    """A stateful model, whose cache lives in the request, with logits of the last tokens only."""

    # The packages exist in the peer's environment only.
    _request: Any
    _past: int

    def versions(self) -> Mapping[str, str]:
        """Of the runtime, of the exporter and of the compression."""
        return {name: version(name) for name in ("openvino", "optimum-intel", "nncf", "transformers")}

    def prepare(self, checkpoint: Path, folder: Path, options: Mapping[str, str]) -> Path:
        """Export by optimum-intel; the option `weights=int4` has nncf compress every matrix, head and embedding too."""
        openvino = importlib.import_module("openvino")
        exporter = importlib.import_module("optimum.intel").OVModelForCausalLM
        model = exporter.from_pretrained(str(checkpoint), export=True, load_in_8bit=False, compile=False).model
        _keep_wanted_logits(openvino, model)
        if options.get("weights") == "int4":
            nncf = importlib.import_module("nncf")
            mode = nncf.CompressWeightsMode.INT4_SYM
            group = group_size(json.loads((checkpoint / "config.json").read_text(encoding="utf-8")))
            model = nncf.compress_weights(model, mode=mode, group_size=group, ratio=1.0, all_layers=True)
        openvino.save_model(model, str(folder / MODEL_FILE), compress_to_fp16=False)
        return folder

    def load(self, folder: Path, options: Mapping[str, str]) -> None:
        """Compile for a thread on every core; options but `weights` are properties of the CPU plugin."""
        openvino = importlib.import_module("openvino")
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(len(os.sched_getaffinity(0))),
            # Under the latency hint it would leave the second thread of a core idle, whatever the number above.
            "ENABLE_HYPER_THREADING": "YES",
            **{key: value for key, value in options.items() if key not in BUILD_OPTIONS},
        }
        compiled = openvino.Core().compile_model(str(folder / MODEL_FILE), "CPU", settings)
        self._request = compiled.create_infer_request()

    def begin(self, capacity: int, rows: int) -> None:
        """Empty the request's cache, which grows by itself."""
        self._request.reset_state()
        self._past = 0

    def step(self, tokens: list[list[int]], wanted: int) -> tuple[float, Logits]:
        """Time one inference."""
        rows, after = len(tokens), self._past + len(tokens[0])
        inputs = {
            "input_ids": np.array(tokens, dtype=np.int64),
            "attention_mask": np.ones((rows, after), dtype=np.int64),
            "position_ids": np.tile(np.arange(self._past, after, dtype=np.int64), (rows, 1)),
            "beam_idx": np.arange(rows, dtype=np.int32),
            WANTED: np.array([wanted], dtype=np.int64),
        }
        start = time.perf_counter()
        self._request.infer(inputs, share_inputs=True)
        seconds = time.perf_counter() - start
        self._past = after
        return seconds, np.array(self._request.get_tensor("logits").data)


def group_size(config: Mapping[str, Any]) -> int:
    """128 numbers to a scale as in the other systems, or 64 where the rows of a matrix are no multiple of that."""
    rows = (config["hidden_size"], config["intermediate_size"])
    return 128 if all(size % 128 == 0 for size in rows) else 64


def _keep_wanted_logits(openvino: Any, model: Any) -> None:
    """Cut the head's input to the last tokens, as many as a new input says; the exporter's head computes all."""
    operators = importlib.import_module("openvino.opset13")
    head = model.output("logits").get_node().input_value(0).get_node()
    if head.get_type_name() != "MatMul":
        raise RuntimeError(f"the exported logits come from {head.get_type_name()}, not from a MatMul")
    wanted = operators.parameter([1], np.int64, name=WANTED)
    wanted.output(0).get_tensor().set_names({WANTED})
    start, end = operators.negative(wanted), np.array([np.iinfo(np.int64).max])
    one = np.array([1])
    cut = operators.slice(head.input_value(0), start, end, one, one)
    head.input(0).replace_source_output(cut.output(0))
    model.add_parameters([wanted])
    model.validate_nodes_and_infer_types()


if __name__ == "__main__":
    serve(OpenVinoWorker)
