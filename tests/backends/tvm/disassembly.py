"""What stands in machine code of x86-64, by a disassembler."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

LINE = re.compile(r"^\s*[0-9a-f]+:\s+((?:[0-9a-f]{2} )+)\s*\t(\S.*)$")
PREFIXES = frozenset({"26", "2e", "36", "3e", "64", "65", "67"})
EVEX = "62"
"""The first byte of every instruction of AVX-512, whatever its registers."""
NEWER = re.compile(r"(vpdp|vpmadd52|v?gf2p8|v?aes|v?pclmul|sha\d|vsm\d|vsha|tile|tdp|vcvtne|vbcst|vpclmul)")
"""Names of instructions without that byte that x86-64-v3 lacks."""


def newer_than_v3(library: Path) -> list[str]:
    """The instructions of a library that x86-64-v3 lacks. Skips the test where nothing can read code."""
    tool = shutil.which("objdump") or shutil.which("llvm-objdump")
    if tool is None:
        pytest.skip("there is no disassembler: apt-get install -y binutils")
    done = subprocess.run([tool, "-d", str(library)], capture_output=True, text=True, check=True)
    lines = [match for match in map(LINE.match, done.stdout.splitlines()) if match]
    assert len(lines) > 1000, "a whole library is read"
    return [match[2] for match in lines if _is_newer(match[1].split(), match[2])]


def _is_newer(code: list[str], text: str) -> bool:
    while code[0] in PREFIXES and len(code) > 1:
        code = code[1:]
    return code[0] == EVEX or NEWER.match(text) is not None
