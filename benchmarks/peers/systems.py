"""The systems that can be measured side by side, by name."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from benchmarks.peers.environments import ENVIRONMENTS, PeerEnvironment


@dataclass(frozen=True)
class System:
    """One measured configuration: a worker module, its environment, and its options for building and loading."""

    name: str
    worker: str
    environment: PeerEnvironment | None = None
    options: dict[str, str] = field(default_factory=dict[str, str])
    # A peer's build depends on its pinned version alone; our own output changes with every edit of the compiler.
    keeps_build: bool = True

    @property
    def python(self) -> str:
        """The interpreter that runs the worker."""
        return sys.executable if self.environment is None else str(self.environment.python)


_GENAI_OPTIONS = {"prune_lm_head": "true", "fuse_mlp_gate_up": "true"}

SYSTEMS: dict[str, System] = {
    system.name: system
    for system in (
        System(name="graphwright", worker="benchmarks.peers.graphwright_worker", keeps_build=False),
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
        System(name="transformers", worker="benchmarks.peers.transformers_worker"),
        System(
            name="transformers-static",
            worker="benchmarks.peers.transformers_worker",
            options={"cache": "static"},
        ),
    )
}
