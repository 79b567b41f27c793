"""A model of one layer for the emulator, and what runs it."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from graphwright.compiling.lowering import build_artifact
from graphwright.emulating import emulated_engine
from graphwright.emulating.emulator import Emulator, start_emulator
from graphwright.ir import Program
from graphwright.runtime import Model, load
from graphwright.runtime.cuda_api import Cuda, cuda
from tests.backends.models import MODELS, decoder

PROMPT = [3, 4, 5]


def build(folder: Path) -> Path:
    """The artifact, with code for the emulator alone."""
    build_artifact(program(), folder, "cuda", architectures="emulated", verify_tokens=3)
    return folder


def program() -> Program:
    return decoder(replace(MODELS["llama"], layers=1))


@cache
def built() -> Path:
    """One that all tests share and none changes."""
    return build(Path(mkdtemp()) / "tiny")


@cache
def tiny() -> Model:
    return load(built(), engine=emulated_engine)


@cache
def reference() -> Model:
    """The same model, run by ONNX Runtime on the CPU."""
    folder = Path(mkdtemp()) / "reference"
    build_artifact(program(), folder, "onnx")
    return load(folder, threads=1)


def driver() -> tuple[Emulator, Cuda]:
    """The stand-in, and the runtime's calls of it."""
    emulator = start_emulator()
    found = cuda()
    found.describe = emulator.describe
    return emulator, found
