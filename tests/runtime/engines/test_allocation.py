"""Decoding allocates nothing: neither arrays, nor anything else that stays, nor pages of memory."""

import ctypes
import gc
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from graphwright.runtime import Decoder, KVCache, load
from tests.runtime.native_decoder import write_native_artifact
from tests.runtime.program import TinyDecoder

STEPS = 50
ATTEMPTS = 5
"""Other threads of the process may allocate meanwhile."""
FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")
VOCABULARY = 2000
LITTLE = 4096
"""Bytes: more than the arguments of a call, and less than its logits."""


class MallocState(ctypes.Structure):
    """`struct mallinfo2` of the C library."""

    _fields_ = tuple((name, ctypes.c_size_t) for name in FIELDS)


_MALLINFO = ctypes.CDLL(None).mallinfo2
_MALLINFO.restype = MallocState


def given_out() -> int:
    """Bytes that the C library has given out, apart from what Python would give back."""
    gc.collect()
    state = _MALLINFO()
    return state.uordblks + state.hblkhd


def resident_pages() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1])


@pytest.fixture
def step(tmp_path: Path) -> Callable[[], object]:
    """One decode step, which has been run some times, over a cache whose memory was touched."""
    capacity = 2 * ATTEMPTS * STEPS + 50
    folder = write_native_artifact(tmp_path / "long", TinyDecoder(vocabulary_size=VOCABULARY, context_length=capacity))
    decoder = Decoder(KVCache(load(folder, threads=2).loaded.session, 1, capacity))
    ids, one, first = np.array([[3]]), np.array([1]), np.array([[0]])
    for buffer in decoder.cache.buffers:
        buffer.value.numpy()[...] = 0

    def run() -> object:
        logits = decoder.step(ids, one, first)
        decoder.cache.advance(one)
        return logits

    for _ in range(20):
        run()
    return run


def test_no_memory_is_asked_of_the_system_or_kept(step: Callable[[], object]) -> None:
    grown: list[tuple[int, int]] = []
    for _ in range(ATTEMPTS):
        before = given_out(), resident_pages()
        for _ in range(STEPS):
            step()
        grown.append((given_out() - before[0], resident_pages() - before[1]))
    assert min(each for each, _ in grown) < STEPS, "less than a byte a step"
    assert min(pages for _, pages in grown) <= 0


def test_no_array_is_made(step: Callable[[], object]) -> None:
    logits = step()
    peaks: list[int] = []
    tracemalloc.start()
    try:
        for _ in range(ATTEMPTS):
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            for _ in range(STEPS):
                step()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert min(peaks) < LITTLE < 4 * VOCABULARY
    assert step() is logits
