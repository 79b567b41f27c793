"""The systems that can be measured side by side, by name."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.peers.environments import ENVIRONMENTS, PeerEnvironment

Format = Literal["float32", "int4"]
MATRIX_BITS: dict[Format, float] = {"float32": 32, "int4": 4 + 32 / 128}
"""Bits of one number of a matrix: those in 4 bits have a float32 scale for each group of 128."""


@dataclass(frozen=True)
class System:
    """One measured configuration: a worker module, its environment, and its options for building and loading."""

    name: str
    worker: str
    environment: PeerEnvironment | None = None
    options: dict[str, str] = field(default_factory=dict[str, str])
    format: Format = "float32"
    # A peer's build depends on its pinned version alone; our own output changes with every edit of the compiler.
    keeps_build: bool = True

    @property
    def python(self) -> str:
        """The interpreter that runs the worker."""
        return sys.executable if self.environment is None else str(self.environment.python)


_GENAI_OPTIONS = {"prune_lm_head": "true", "fuse_mlp_gate_up": "true"}
# Activations are rounded to int8 as in ours, and groups are as large: its default of 32 reads more scales.
_GENAI_INT4 = {**_GENAI_OPTIONS, "precision": "int4", "block_size": "128", "accuracy_level": "4"}

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(name="graphwright", worker="benchmarks.peers.graphwright_worker", keeps_build=False),
        # Rounded to nearest without a search, which takes a second; head and embedding share their codes.
        System(
            name="graphwright-int4",
            worker="benchmarks.peers.graphwright_worker",
            options={"quantize": "w4a8-g128-rtn"},
            format="int4",
            keeps_build=False,
        ),
        # Last-token logits and packed projections. An own embedding table beside lm_head is a larger file but stays in
        # the mapped file, row by row, where the shared one is transposed into memory at load.
        System(
            name="genai",
            worker="benchmarks.peers.genai_worker",
            environment=ENVIRONMENTS["genai"],
            options={**_GENAI_OPTIONS, "shared_embeddings": "false"},
        ),
        # The same with the builder's default for tied embeddings.
        System(
            name="genai-shared",
            worker="benchmarks.peers.genai_worker",
            environment=ENVIRONMENTS["genai"],
            options=_GENAI_OPTIONS,
        ),
        System(
            name="genai-int4",
            worker="benchmarks.peers.genai_worker",
            environment=ENVIRONMENTS["genai"],
            options={**_GENAI_INT4, "shared_embeddings": "false"},
            format="int4",
        ),
        # The embedding in four bits too, by the codes of lm_head.
        System(
            name="genai-int4-shared",
            worker="benchmarks.peers.genai_worker",
            environment=ENVIRONMENTS["genai"],
            options={**_GENAI_INT4, "shared_embeddings": "true", "op_types_to_quantize": "MatMul/Gather"},
            format="int4",
        ),
        System(name="transformers", worker="benchmarks.peers.transformers_worker"),
        System(
            name="transformers-static",
            worker="benchmarks.peers.transformers_worker",
            options={"cache": "static"},
        ),
    )
}
