"""The systems that can be measured side by side, by name."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from benchmarks.peers.environments import ENVIRONMENTS, REPOSITORY, PeerEnvironment
from benchmarks.peers.process import BenchmarkError

Format = Literal["float32", "bf16", "int4"]
MATRIX_BITS: dict[Format, float] = {"float32": 32, "bf16": 16, "int4": 4 + 16 / 128}
"""Bits of one number of a matrix: for every system in 4 bits those of a float16 scale for each group of 128."""


@dataclass(frozen=True)
class System:
    """One measured configuration: a worker module, its environment, and its options for building and loading."""

    name: str
    worker: str
    environment: PeerEnvironment | None = None
    options: dict[str, str] = field(default_factory=dict[str, str])
    format: Format = "float32"
    is_ours: bool = False
    checkout: Path = REPOSITORY
    """The clone of Graphwright whose worker runs."""
    is_exact: bool | None = None
    """Whether its likeliest tokens must be those of the others: by default in float32."""
    verifies: bool = True
    """Whether a step of several tokens computes the logits of each."""
    batches: bool = True
    """Whether it takes several rows."""

    @property
    def exact(self) -> bool:
        """Whether it computes in float32 throughout."""
        return self.format == "float32" if self.is_exact is None else self.is_exact

    @property
    def python(self) -> str:
        """The interpreter that runs the worker."""
        if self.environment is not None:
            return str(self.environment.python)
        return sys.executable if self.checkout == REPOSITORY else str(self.checkout / ".venv/bin/python")

    @property
    def is_pinned(self) -> bool:
        """Whether its builds depend on pinned versions alone; our own output changes with every edit."""
        return not self.is_ours and self.checkout == REPOSITORY

    def as_before(self, checkout: Path) -> System:
        """The same system of another clone, as a peer. Raises BenchmarkError where that has no environment."""
        before = replace(self, name=f"{self.name}-before", checkout=checkout.resolve(), is_ours=False)
        if not Path(before.python).is_file():
            raise BenchmarkError(f"{checkout} is not a clone with an environment: there is no {before.python}")
        return before


_OURS = "benchmarks.peers.graphwright_worker"
# Rounded to nearest without a search, which takes a second; head and embedding share their codes.
_OUR_INT4 = {"quantize": "w4a8-g128-rtn"}
_GENAI = "benchmarks.peers.genai_worker"
# Last-token logits and packed projections; an own embedding table beside lm_head is a larger file but stays in the
# mapped file, row by row, where the shared one is transposed into memory at load.
_GENAI_OPTIONS = {"prune_lm_head": "true", "fuse_mlp_gate_up": "true"}
# Activations are rounded to int8 as in ours, and groups are as large: its default of 32 reads more scales.
_GENAI_INT4 = {**_GENAI_OPTIONS, "precision": "int4", "block_size": "128", "accuracy_level": "4"}
_LLAMA_CPP = "benchmarks.peers.llama_cpp_worker"
_OPENVINO = "benchmarks.peers.openvino_worker"
_TRANSFORMERS = "benchmarks.peers.transformers_worker"

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System("graphwright", _OURS, is_ours=True),
        System("graphwright-tvm", _OURS, options={"backend": "tvm"}, is_ours=True),
        # Exact in its weights alone.
        System("graphwright-kv8", _OURS, options={"quantize": "kv8"}, is_ours=True, is_exact=False),
        System(
            "graphwright-tvm-kv8", _OURS, options={"backend": "tvm", "quantize": "kv8"}, is_ours=True, is_exact=False
        ),
        System("graphwright-tvm-bf16", _OURS, options={"backend": "tvm", "dtype": "bf16"}, format="bf16", is_ours=True),
        System("graphwright-int4", _OURS, options=_OUR_INT4, format="int4", is_ours=True),
        System("graphwright-tvm-int4", _OURS, options={"backend": "tvm", **_OUR_INT4}, format="int4", is_ours=True),
        System("transformers", _TRANSFORMERS, ENVIRONMENTS["transformers"]),
        System("transformers-static", _TRANSFORMERS, ENVIRONMENTS["transformers"], {"cache": "static"}),
        System(
            "transformers-compiled",
            _TRANSFORMERS,
            ENVIRONMENTS["transformers"],
            {"cache": "static", "compile": "yes"},
            # Each number of rows would be compiled by itself, a minute each.
            batches=False,
        ),
        System(
            "genai",
            _GENAI,
            ENVIRONMENTS["genai"],
            {**_GENAI_OPTIONS, "shared_embeddings": "false"},
            verifies=False,
            batches=False,
        ),
        # The same with the builder's default for tied embeddings.
        System("genai-shared", _GENAI, ENVIRONMENTS["genai"], _GENAI_OPTIONS, verifies=False, batches=False),
        System(
            "genai-int4",
            _GENAI,
            ENVIRONMENTS["genai"],
            {**_GENAI_INT4, "shared_embeddings": "false"},
            format="int4",
            verifies=False,
            batches=False,
        ),
        # The embedding in four bits too, by the codes of lm_head.
        System(
            "genai-int4-shared",
            _GENAI,
            ENVIRONMENTS["genai"],
            {**_GENAI_INT4, "shared_embeddings": "true", "op_types_to_quantize": "MatMul/Gather"},
            format="int4",
            verifies=False,
            batches=False,
        ),
        # Its cache is float16 by default.
        System(
            "llama.cpp",
            _LLAMA_CPP,
            ENVIRONMENTS["llama-cpp"],
            {"cache": "F16", "flash_attention": "on"},
            is_exact=False,
        ),
        System(
            "llama.cpp-int4",
            _LLAMA_CPP,
            ENVIRONMENTS["llama-cpp"],
            {"file_type": "Q4_0", "cache": "F16", "flash_attention": "on"},
            format="int4",
        ),
        System(
            "llama.cpp-plain-attention",
            _LLAMA_CPP,
            ENVIRONMENTS["llama-cpp"],
            {"cache": "F16", "flash_attention": "off"},
            is_exact=False,
        ),
        System(
            "llama.cpp-int4-plain-attention",
            _LLAMA_CPP,
            ENVIRONMENTS["llama-cpp"],
            {"file_type": "Q4_0", "cache": "F16", "flash_attention": "off"},
            format="int4",
        ),
        # Left alone it computes in bfloat16 where the processor can, and keeps the cache in eight bits.
        System(
            "openvino",
            _OPENVINO,
            ENVIRONMENTS["openvino"],
            {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"},
        ),
        System(
            "openvino-int4",
            _OPENVINO,
            ENVIRONMENTS["openvino"],
            {"weights": "int4", "INFERENCE_PRECISION_HINT": "f32"},
            format="int4",
        ),
        System("openvino-int4-defaults", _OPENVINO, ENVIRONMENTS["openvino"], {"weights": "int4"}, format="int4"),
        System("optimum-onnx", "benchmarks.peers.optimum_worker", ENVIRONMENTS["optimum"]),
    )
}

_VARIANTS = (
    "graphwright-kv8",
    "graphwright-tvm-kv8",
    "graphwright-tvm-bf16",
    "transformers-static",
    "genai-shared",
    "genai-int4-shared",
    "llama.cpp-plain-attention",
    "llama.cpp-int4-plain-attention",
    "openvino-int4-defaults",
)
DEFAULT_SYSTEMS = tuple(name for name in SYSTEMS if name not in _VARIANTS)
QUICK_SYSTEMS = tuple(name for name in DEFAULT_SYSTEMS if name.startswith(("graphwright", "genai", "llama.cpp")))
