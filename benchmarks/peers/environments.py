"""The peers' virtual environments: where they lie and what is pinned in them. None shares packages with Graphwright."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PEERS = REPOSITORY / ".peers"


@dataclass(frozen=True)
class PeerEnvironment:
    """A peer's virtual environment under `.peers/`: its packages, and the modules that must import afterwards.

    `from_source` names packages that are built here, under `variables`; `removed` those that a requirement brings in
    and that do not fit the others.
    """

    name: str
    requirements: tuple[str, ...]
    modules: tuple[str, ...]
    from_source: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict[str, str])
    removed: tuple[str, ...] = ()

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
            name="transformers",
            requirements=("transformers==5.23.0", "torch>=2.11,<2.14"),
            modules=("transformers", "torch"),
        ),
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
        # Built for the processor that it runs on; the registry has no binaries. Needs a C++ compiler.
        PeerEnvironment(
            name="llama-cpp",
            requirements=(
                "llama-cpp-python==0.3.36",
                "gguf==0.19.0",
                "safetensors>=0.4.5",
                "cmake==4.4.4",
                "ninja==1.13.2",
            ),
            modules=("llama_cpp", "gguf"),
            from_source=("llama-cpp-python",),
            variables={"CMAKE_ARGS": "-DGGML_NATIVE=ON -DGGML_LLAMAFILE=ON -DGGML_OPENMP=ON -DMTMD_BUILD=OFF"},
        ),
        # The release of torchvision for a GPU is installed beside torch without one, and then nothing imports.
        PeerEnvironment(
            name="openvino",
            requirements=("openvino==2026.4.1", "nncf==3.4.0", "optimum-intel==2.2.0", "torch>=2.11,<2.14"),
            modules=("openvino", "nncf", "optimum.intel.openvino"),
            removed=("torchvision",),
        ),
    )
}
