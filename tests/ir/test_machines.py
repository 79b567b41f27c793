"""The records of machines, and finding one."""

from __future__ import annotations

import pytest

from graphwright.ir import DType, UserError
from graphwright.ir.machines import MACHINES, machine


@pytest.mark.parametrize("name", ["RTX 4090", "rtx-4090", "rtx4090", "Rtx_4090"])
def test_a_name_in_any_spelling(name: str) -> None:
    assert machine(name) is MACHINES["rtx4090"]


def test_an_unknown_name_gets_a_suggestion_and_all_names() -> None:
    with pytest.raises(UserError) as caught:
        machine("h1000")
    assert str(caught.value) == (
        "there is no machine 'h1000': did you mean 'h100'? known are b200, h200, h100, a100, l4, rtx4090, local"
    )
    with pytest.raises(UserError, match=r"there is no machine 'abacus': known are b200, .*local$"):
        machine("abacus")


def test_records_are_plausible_and_say_where_they_come_from() -> None:
    for record in MACHINES.values():
        assert "NVIDIA" in record.source
        assert "without sparsity" in record.source
        assert record.rate(DType.F64) <= record.rate(DType.F32) < record.rate(DType.BF16) <= record.rate(DType.I8)
        assert 1e11 < record.bytes_per_second < 1e13
        assert 1e-7 < record.launch_seconds < 1e-5


def test_a_type_that_a_machine_lacks_is_computed_in_float32() -> None:
    assert machine("a100").rate(DType.F8E4M3) == machine("a100").rate(DType.F32) == 19.5e12
    assert machine("h100").rate(DType.F8E4M3) == 1978.9e12
