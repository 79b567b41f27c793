"""Every planted fault is caught, and by the line that it should be caught by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from graphwright.backends.cuda.backend import CudaBackend, CudaOptions
from graphwright.backends.cuda.gpu import EMULATED
from graphwright.backends.cuda.lower import plan_graphs
from graphwright.backends.plan import Plan, verify_plan
from graphwright.compiling.lowering import lowered
from graphwright.emulating import emulated_engine
from graphwright.ir import VerificationError
from graphwright.runtime import ArtifactError, SessionError
from graphwright.runtime.artifact import Artifact, open_artifact
from graphwright.runtime.cache import KVCache
from graphwright.runtime.decoder import Decoder, Ids
from graphwright.runtime.session import Session
from tests.emulator.faults import (
    GRAPH,
    KERNELS,
    PLANS,
    PROGRAMS,
    RUNTIME,
    WRONG,
    Fault,
    KernelFault,
    Program,
    a_bucket_without_room,
)
from tests.emulator.launching import launching
from tests.emulator.tiny import built, program, reference

BOUND = 1e-4
"""See `test_generation`."""


def named(fault: Fault | KernelFault) -> str:
    return fault.name


def run(session: Session, batch: int, counts: Sequence[int], *, tokens: bool = False) -> list[npt.NDArray[Any]]:
    """The logits of steps of so many tokens, or tokens that the device draws."""
    found: list[npt.NDArray[Any]] = []
    decoder = Decoder(KVCache(session, batch, 8))
    drawn = np.tile(np.array([9, 0, 1, 0], np.float32), (batch, 1)), np.zeros((batch, 2), np.uint64)
    for number, count in enumerate(counts):
        # The second step's token comes again: it is not the one that the device would go on with.
        ids: Ids = np.full((batch, count), 3 + (number + 1) // 2, np.int64)
        length: Ids = np.full(batch, count, np.int64)
        step = ids, length, length[:, None] - 1
        found.append((decoder.choose(*step, *drawn) if tokens else decoder.step(*step)).copy())
        decoder.cache.advance(length)
    return found


def caught(finding: str, spoiled: Program, batch: int = 1, counts: Sequence[int] = (1,)) -> None:
    """Asserts that loading or running it fails by this finding."""
    if finding == WRONG:
        right = run(reference().loaded.session, batch, counts)
        pairs = zip(run(loaded(spoiled), batch, counts), right, strict=True)
        assert any(not np.allclose(one, other, rtol=0, atol=BOUND) for one, other in pairs), "the numbers are right"
        return
    with pytest.raises((ArtifactError, SessionError)) as error:
        run(loaded(spoiled), batch, counts)
    assert finding in str(error.value)
    assert "\n" not in str(error.value)


@cache
def plan() -> Plan:
    made, _ = lowered(program(), CudaBackend().lowering(CudaOptions(), decoder=True))
    return plan_graphs([made.graphs[GRAPH]], EMULATED).plans[GRAPH]


@dataclass(frozen=True)
class Changed(Artifact):
    """An artifact with another content of its program file."""

    text: str

    def read_text(self, name: str) -> str:
        return self.text


def loaded(spoiled: Program) -> Session:
    """The model with another content of its program file."""
    whole = open_artifact(built(), verify=False)
    text = json.dumps({**whole_program(), "targets": {"emulated": spoiled}})
    return Session(Changed(whole.folder, whole.manifest, text), engine=emulated_engine)


def whole_program() -> Program:
    return json.loads((built() / "program.json").read_text())


def emulated() -> Program:
    return whole_program()["targets"]["emulated"]


def test_there_are_thirty_and_each_has_a_name_of_its_own() -> None:
    for faults in (PLANS, PROGRAMS, KERNELS, RUNTIME):
        assert len({fault.name for fault in faults}) == len(faults)
    assert sum(map(len, (PLANS, PROGRAMS, KERNELS, RUNTIME))) >= 30


@pytest.mark.parametrize("fault", PLANS, ids=named)
def test_a_fault_of_a_plan(fault: Fault) -> None:
    verify_plan(plan())
    with pytest.raises(VerificationError) as error:
        verify_plan(fault.plant(plan()))
    assert fault.finding in str(error.value)


def test_what_is_not_spoiled_is_right() -> None:
    with pytest.raises(AssertionError, match="the numbers are right"):
        caught(WRONG, emulated(), counts=(1, 1))


@pytest.mark.parametrize("fault", PROGRAMS, ids=named)
def test_a_fault_of_what_the_artifact_says(fault: Fault) -> None:
    spoiled = emulated()
    fault.plant(spoiled)
    caught(fault.finding, spoiled, counts=(1, 1))


@pytest.mark.parametrize("fault", KERNELS, ids=named)
def test_a_fault_of_a_kernel_is_named_with_its_buffer(fault: KernelFault) -> None:
    with launching(fault.kernel) as it, pytest.raises(SessionError) as error:
        it.run()
    assert f"kernel {fault.kernel}: {fault.finding}" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fault", RUNTIME, ids=named)
def test_a_fault_of_the_runtime(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    fault.plant(monkeypatch)
    batch, counts = (3, (1,)) if fault.plant is a_bucket_without_room else (1, (1, 1, 1, 2))
    caught(fault.finding, emulated(), batch, counts)
