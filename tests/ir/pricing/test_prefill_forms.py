"""What prefill holds and takes in each form of its weights, against sums done by hand."""

from __future__ import annotations

from graphwright.ir import DType, parse_program
from graphwright.ir.machines import Machine
from graphwright.ir.pricing import prefill_forms
from graphwright.passes import parse_passes, run_passes

MACHINE = Machine("toy", {DType.F32: 1000.0}, 10.0, 0.5, "made up")
TEXT = """
program "p"
weight @a : f32[8, 4] = constant() {value=1.0, dtype=f32, shape=[8, 4]}
weight @b : f32[2, 8] = constant() {value=1.0, dtype=f32, shape=[2, 8]}
graph forward(%x: f32[S, 4]) {
  %0 = linear(%x, @a) : f32[S, 8]
  %1 = linear(%0, @b) : f32[S, 2]
  return y=%1
}
"""


def test_each_form_holds_and_takes_what_it_must() -> None:
    program = parse_program(TEXT)
    assert prefill_forms(program.graphs["forward"], 10, MACHINE) == []
    run_passes(program, parse_passes("quantize-weights{to=i8, group=0}"))
    packed, unpacked, second = prefill_forms(program.graphs["forward"], 10, MACHINE)
    # Codes and one f32 scale a row: 32 + 32 bytes, 16 + 8 bytes; in float32 128 and 64.
    assert (packed.weight_bytes, unpacked.weight_bytes, second.weight_bytes) == (88, 88 + 128, 88 + 192)
    # 640 and 320 FLOPs at 1000 a second; the bytes take longer.
    assert packed.seconds == 6.4 + 2.4
    assert second.seconds == 12.8 + 6.4
    assert unpacked.seconds == (12.8 + 6.4) + 8.8 + 19.2
    assert [f.seconds for f in prefill_forms(program.graphs["forward"], 10)] == [None] * 3
