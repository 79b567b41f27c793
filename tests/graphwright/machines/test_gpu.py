"""What the doctor says of the emulator's driver, of other devices, and where there is none."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from graphwright.machines import gpu
from graphwright.machines.gpu import gpu_facts
from graphwright.runtime import SessionError
from tests.emulator.tiny import driver


@dataclass
class Device:
    name: str
    architecture: str
    version: int

    def memory(self) -> tuple[int, int]:
        return 3 << 30, 8 << 30


def test_the_driver_of_the_emulator() -> None:
    driver()
    facts = dict(gpu_facts())
    assert facts["gpu driver"] == "for CUDA 13.0"
    assert facts["gpu"] == "emulator, emulated"
    assert facts["gpu memory"].endswith("GiB available of 64.0 GiB")


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("sm_90", "a GPU, sm_90"),
        ("sm_75", "a GPU, sm_75, for which no kernels are made: there are sm_80, sm_86, "),
    ],
)
def test_a_device(architecture: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "cuda", lambda: Device("a GPU", architecture, 12090))
    first, second, third = gpu_facts()
    assert first == ("gpu driver", "for CUDA 12.9")
    assert second[1].startswith(said)
    assert third == ("gpu memory", "3.0 GiB available of 8.0 GiB")


def test_without_a_driver_one_line_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> Device:
        raise SessionError("there is no CUDA device here: the driver finds none")

    monkeypatch.setattr(gpu, "cuda", missing)
    assert gpu_facts() == [("gpu", "none: there is no CUDA device here: the driver finds none")]
