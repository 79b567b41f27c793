"""The peers' virtual environments: where they lie and what is pinned in them. None shares packages with Graphwright."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PEERS = REPOSITORY / ".peers"


@dataclass(frozen=True)
class PeerEnvironment:
    """A peer's virtual environment under `.peers/`: its packages, and the modules that must import afterwards."""

    name: str
    requirements: tuple[str, ...]
    modules: tuple[str, ...]

    @property
    def folder(self) -> Path:
        """The environment's folder; it exists once the peer is installed."""
        return PEERS / self.name

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "bin/python"

    @property
    def installed_marker(self) -> Path:
        """Written last, with the pinned requirements: an interrupted or outdated installation does not count as one."""
        return self.folder / "installed-requirements.txt"

    @property
    def is_installed(self) -> bool:
        """Whether the environment is complete and holds exactly the pinned requirements."""
        marker = self.installed_marker
        return marker.is_file() and marker.read_text(encoding="utf-8").splitlines() == list(self.requirements)

    @property
    def install_command(self) -> str:
        """What a user runs to get this environment."""
        return f"python -m benchmarks.peers.install {self.name}"


ENVIRONMENTS: dict[str, PeerEnvironment] = {
    environment.name: environment
    for environment in (
        PeerEnvironment(
            name="genai",
            requirements=(
                "onnxruntime-genai==0.18.0",
                "onnxruntime==1.32.0",
                "onnx==1.23.2",
                "onnx-ir==1.1.0",
                "transformers==5.23.0",
                "torch>=2.11,<2.14",
            ),
            modules=("onnxruntime_genai", "onnxruntime_genai.models.builder"),
        ),
        # optimum-onnx pins transformers below 4.58, which Graphwright's own environment cannot share.
        PeerEnvironment(
            name="optimum",
            requirements=("optimum-onnx==0.1.0", "onnxruntime==1.32.0", "torch>=2.11,<2.14"),
            modules=("optimum.onnxruntime",),
        ),
    )
}
