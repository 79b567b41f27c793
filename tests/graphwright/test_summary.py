"""Programs in numbers, against sums done by hand."""

from graphwright.cli.output import count_text, size_text
from graphwright.ir import parse_program
from graphwright.summary import PhaseCost, op_counts, phase_costs, weight_bytes

TEXT = """program "tiny" {context_length=100}
weight @table : f32[8, 4] = file("w.safetensors", "table") : f32[8, 4]
weight @head : f32[8, 4] = file("w.safetensors", "head") : f32[8, 4]
graph NAME(%input_ids: i64[B, S]) {
  %0 = embedding(@table, %input_ids) : f32[B, S, 4]
  %1 = linear(%0, @head) : f32[B, S, 8]
  return logits=%1
}
"""


def test_ops_and_weights() -> None:
    program = parse_program(TEXT.replace("NAME", "forward"))
    assert weight_bytes(program) == 2 * 8 * 4 * 4
    assert op_counts(program.graphs["forward"]) == {"embedding": 1, "linear": 1}


def test_phases_are_held_below_the_context() -> None:
    (forward,) = phase_costs(parse_program(TEXT.replace("NAME", "forward")))
    assert forward.phase == "100 tokens"
    assert forward.launches == 2
    assert 2 * 100 * 4 * 8 <= forward.flops < 2 * 100 * 4 * 8 * 1.1
    prefill, decode = phase_costs(parse_program(TEXT.replace("NAME", "prefill")))
    assert prefill == PhaseCost("prefill of 100 tokens", forward.flops, forward.bytes, 2)
    assert decode.phase == "decode at 100 tokens"
    assert decode.flops * 100 == forward.flops
    assert phase_costs(parse_program(TEXT.replace("NAME", "other"))) == []


def test_sizes_and_counts_for_reading() -> None:
    assert [size_text(n) for n in (0, 1023, 1024, 1536, 3 * 2**30)] == [
        "0 B",
        "1023 B",
        "1.0 KiB",
        "1.5 KiB",
        "3.0 GiB",
    ]
    assert [count_text(n) for n in (0, 999, 1000, 260_032, 1_235_814_400)] == [
        "0",
        "999",
        "1 thousand",
        "260 thousand",
        "1.24 billion",
    ]
