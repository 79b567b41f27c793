"""Code for other machines: nothing in it is newer than what it was asked for, and emulated machines run it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tokenizers import Tokenizer

import graphwright
from graphwright.ir import Program
from tests.backends.quantizing import Scheme, quantized
from tests.backends.tvm.disassembly import newer_than_v3
from tests.backends.tvm.elsewhere import Elsewhere, emulator, require_cross_compiler

STORIES = Path(__file__).parents[4] / "shared/models/stories260k"
pytestmark = pytest.mark.skipif(not STORIES.is_dir(), reason="the shared model stories260k is not here")
SIZES = {"LAYERS": 5, "HEADS": 4, "SIZE": 8, "VOCABULARY": 512}
START, COUNT = 1, 20
ARM = "aarch64+dotprod"


@pytest.fixture(scope="module")
def published() -> list[int]:
    """The first tokens of the text that is published with the model."""
    text = (STORIES / "EXPECTED.txt").read_text(encoding="utf-8").partition("\n")[0]
    return Tokenizer.from_file(str(STORIES / "tokenizer.json")).encode(text).ids[:COUNT]


@pytest.fixture(scope="module")
def program() -> Program:
    return graphwright.optimize(graphwright.trace(STORIES), "cpu")[0]


@pytest.fixture(scope="module")
def floats(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    return Elsewhere(program, ["v3"], tmp_path_factory.mktemp("floats"), SIZES)


@pytest.fixture(scope="module")
def codes(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    coded = quantized(program.clone(), Scheme("i4", 32, 32))
    return Elsewhere(coded, ["v3", "v4+vnni", ARM], tmp_path_factory.mktemp("codes"), SIZES)


def haswell() -> list[str]:
    return [emulator("x86_64"), "-cpu", "Haswell"]


def arm() -> list[str]:
    require_cross_compiler()
    return [emulator("aarch64"), "-cpu", "max"]


def test_code_for_v3_has_no_newer_instruction(floats: Elsewhere, codes: Elsewhere) -> None:
    assert not newer_than_v3(floats.library("v3"))
    assert not newer_than_v3(codes.library("v3"))


def test_code_for_v4_has_vectors_of_512_bits(codes: Elsewhere) -> None:
    newer = newer_than_v3(codes.library("v4+vnni"))
    assert any(line.startswith("vpdpbusd") and "zmm" in line for line in newer)
    assert sum("zmm" in line for line in newer) > sum("ymm" in line for line in newer)


def test_an_emulated_haswell_prints_the_published_text(floats: Elsewhere, published: list[int]) -> None:
    assert floats.tokens("v3", [START], COUNT, haswell()) == published


def test_an_emulated_haswell_does_not_run_code_for_v4(codes: Elsewhere) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        codes.tokens("v4+vnni", [START], 1, haswell())


@pytest.mark.full
def test_an_emulated_arm_machine_prints_the_published_text(
    program: Program, published: list[int], tmp_path: Path
) -> None:
    assert Elsewhere(program, [ARM], tmp_path, SIZES).tokens(ARM, [START], COUNT, arm()) == published


def test_products_of_codes_are_the_same_on_emulated_machines(codes: Elsewhere) -> None:
    assert codes.tokens(ARM, [START], COUNT, arm()) == codes.tokens("v3", [START], COUNT, haswell())
