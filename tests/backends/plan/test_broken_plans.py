"""Rules of the plan's verifier, by the text of a good plan that is broken in each way."""

from __future__ import annotations

import pytest

from graphwright.backends.plan import Plan, parse_plan, verify_plan
from graphwright.ir import VerificationError, parse_program

PROGRAM = """program "p"
weight @gain : f32[4] = data([1.0, 2.0, 3.0, 4.0]) : f32[4]
weight @other : f32[4] = data([1.0, 2.0, 3.0, 4.0]) : f32[4]
graph g(
  %x: f32[B, 4],
  %past.0.key: state<contiguous f32[B, 1, C, 4]>,
  %past.1.key: state<contiguous f32[B, 1, C, 4]>,
  %past_length: i64[B]
) {
  %0 = mul(%x, @gain) : f32[B, 4]
  %1 = reshape(%0) {shape=[B, 1, 1, 4]} : f32[B, 1, 1, 4]
  %2 = kv_append(%past.0.key, %1, %past_length) : state<contiguous f32[B, 1, C, 4]>
  %3, %4 = split(%0) {axis=1, sizes=[1, 3]} : f32[B, 1], f32[B, 3]
  %5 = exp(%4) : f32[B, 3]
  %6 = mul(%0, @other) : f32[B, 4]
  return y=%5, z=%6, present.0.key=%2, present.1.key=%past.1.key
}
"""
TEXT = """\
plan g(B, C) {
  define blocks = floordiv(B+7, 8)
  given x : f32[B, 4] of %x
  given past.0.key : f32[B, 1, C, 4] of %past.0.key
  given past.1.key : f32[B, 1, C, 4] of %past.1.key
  given past_length : i64[B] of %past_length
  given y : f32[3*B]
  given z : f32[B, 4]
  stored gain : f32[4] at 0 of @gain
  stored other : f32[2, 2] at 16 of @other
  stored table : f32[2, 2] at 32 of @table
  slot 0 : 16*B
  slot 1 : 12*B+blocks
  slot 2 : 32*B
  slot 3 : 64
  slot 4 : 64
  temporary t0 : f32[B, 4] in 0
  temporary t1 : f32[B, 3] in 2
  temporary scratch : f32[B, 2] in 2
  temporary small : f32[16] in 3
  temporary more : f32[12] in 4

  %0 = mul(%x, @gain) : f32[B, 4]
    in t0
    stage mul(r x, r gain, r table, w t0) sizes(B: i64) over blocks
  %1 = reshape(%0) {shape=[B, 1, 1, 4]} : f32[B, 1, 1, 4]
    in t0
  %2 = kv_append(%past.0.key, %1, %past_length) : state<contiguous f32[B, 1, C, 4]>
    in past.0.key
    wait
    stage first(r t0, r past_length, w scratch) over B
    wait
    stage second(rw scratch, rw small, w past.0.key) one thread
  %3, %4 = split(%0) {axis=1, sizes=[1, 3]} : f32[B, 1], f32[B, 3]
    in -, t1
    wait
    stage split(r t0, w t1, rw more) one thread
  %5 = exp(%4) : f32[B, 3]
    in y
    stage exp(r t1, w y) one thread
  %6 = mul(%0, @other) : f32[B, 4]
    in z
    stage mul2(r t0, r other, w z) over B
}
"""


def plan(text: str = TEXT) -> Plan:
    return parse_plan(text, parse_program(PROGRAM))


def test_the_good_plan_is_good() -> None:
    verify_plan(plan())


def edited(*changes: str) -> str:
    """The good plan with texts replaced: each by the one behind it."""
    text = TEXT
    for old, new in zip(changes[::2], changes[1::2], strict=True):
        assert old in text, old
        text = text.replace(old, new, 1)
    return text


EXP = "  %5 = exp(%4) : f32[B, 3]\n    in y\n    stage exp(r t1, w y) one thread\n"
SPLIT = TEXT[TEXT.index("  %3, %4") : TEXT.index("  %5")]

ARM = "w past.0.key) one thread", "w past.0.key) one thread in arm 1 of branch 0"
ARMS = [("w scratch) over B\n    wait", f"w scratch) over B in arm 0 of branch {n}") for n in range(2)]

CASES = {
    "an op without a launch": ([EXP, ""], "plan 'g': 0 launches, it must have one: %5 = exp"),
    "a launch without stages": (
        ["    stage exp(r t1, w y) one thread\n", ""],
        "plan 'g', launch 3: it has no stages: %5",
    ),
    "a view that is launched": (
        ["B, 1, 1, 4]\n    in t0\n", "B, 1, 1, 4]\n    in t0\n    stage view(rw t0) over B\n"],
        "plan 'g': 1 launches, a view launches nothing: %1 = reshape",
    ),
    "an order that the graph does not allow": (
        [SPLIT + EXP, EXP + SPLIT],
        "launch 2: operand '%4' is not computed before: %5 = exp",
    ),
    "a view elsewhere": (
        ["B, 1, 1, 4]\n    in t0", "B, 1, 1, 4]\n    in t1"],
        "plan 'g': a view is in buffer 't1', which is not the buffer of its operand: %1 = reshape",
    ),
    "a view nowhere": (
        ["B, 1, 1, 4]\n    in t0", "B, 1, 1, 4]"],
        "launch 1: operand '%1' is in no buffer: %2 = kv_append",
    ),
    "a cache that is not updated in place": (
        ["in past.0.key", "in past.1.key", "w past.0.key", "w past.1.key"],
        "result '%2' is in buffer 'past.1.key', not in place in buffer 'past.0.key': only a ring may be copied",
    ),
    "an operand that is not read": (["r t1, w y", "w y"], "launch 3: no stage reads buffer 't1' of operand '%4'"),
    "an operand that is only written": (["r t1, w y", "w t1, w y"], "launch 3: no stage reads buffer 't1' of operand"),
    "a weight that is not read": (["r gain, ", ""], "launch 0: no stage reads weight '@gain': %0 = mul"),
    "another weight": (
        ["r other, w z", "r other, r gain, w z"],
        "launch 4: stage 'mul2' takes buffer 'gain' of weight '@gain', which is not an operand",
    ),
    "a result that is not written": (["r t1, w y", "r t1, r y"], "launch 3: no stage writes buffer 'y' of result '%5'"),
    "a result nowhere": (["in -, t1", "in -, -"], "launch 2: result '%4' is in no buffer: %3, %4 = split"),
    "a result in an operand's buffer": (
        ["in -, t1", "in -, t0", "r t0, w t1", "rw t0"],
        "launch 2: result '%4' of type f32[B, 3] is in buffer 't0', f32[B, 4]",
    ),
    "a result in place of an operand": (
        ["in t0\n    stage", "in x\n    stage", "r x, r gain, r table, w t0", "rw x, r gain, r table", "in t0", "in x"],
        "launch 0: result '%0' is in buffer 'x' of an operand, not in place",
    ),
    "two results in one buffer": (
        ["in -, t1", "in t1, t1"],
        "launch 2: result '%3' of type f32[B, 1] is in buffer 't1'",
    ),
    "another element type": (
        ["t1 : f32[B, 3]", "t1 : i32[B, 3]"],
        "launch 2: result '%4' of type f32[B, 3] is in buffer 't1', i32[B, 3]",
    ),
    "a weight that is written": (
        ["r other, w z", "rw other, w z"],
        "launch 4: stage 'mul2' writes buffer 'other', which",
    ),
    "an input that is written": (
        ["r t1, w y", "r t1, w x, w y"],
        "launch 3: stage 'exp' writes buffer 'x', which holds no result of the op: %5",
    ),
    "an operand that is written": (
        ["r t1, w y", "rw t1, w y"],
        "launch 3: stage 'exp' writes buffer 't1', which holds no result of the op",
    ),
    "a result of another op that is read": (
        ["r t1, w y", "r t1, r t0, w y"],
        "launch 3: stage 'exp' takes buffer 't0', which holds no operand of the op",
    ),
    "scratch that is read first": (
        ["rw scratch, rw small", "rw scratch, r small"],
        "launch 1: stage 'second' reads buffer 'small', which nothing was written to",
    ),
    "a result that is read first": (
        ["r past_length, w scratch", "r past_length, r past.0.key, w scratch", "rw small", "- small"],
        None,
    ),
    "an output elsewhere": (
        [
            "in y\n    stage exp(r t1, w y)",
            "in out\n    stage exp(r t1, w out)",
            "small :",
            "out : f32[B, 3] in 2\n  temporary small :",
        ],
        "plan 'g': output 'y' is in buffer 'out', not in the parameter of its name",
    ),
    "a parameter of no name": (
        ["given y : f32[3*B]", "given y : f32[3*B]\n  given z0 : f32[3*B]"],
        "plan 'g': parameter 'z0' is not an input, and no output that is written apart",
    ),
    "a parameter that is missing": (
        [
            "  given past_length : i64[B] of %past_length\n",
            "  temporary past_length : i64[B]\n  place %past_length in past_length\n",
        ],
        "plan 'g': input '%past_length' is not in a parameter 'past_length' of its type i64[B]",
    ),
    "an input elsewhere": (
        ["past_length : i64[B] of %past_length", "past_length : i64[B]\n  given p : i64[B]\n  place %past_length in p"],
        "plan 'g': input '%past_length' is not in a parameter 'past_length' of its type i64[B]",
    ),
    "an input of another type": (
        ["given x : f32[B, 4]", "given x : f32[4, B]"],
        "plan 'g': input '%x' is not in a parameter",
    ),
    "a slot that is too small": (
        ["slot 0 : 16*B", "slot 0 : 15*B"],
        "launch 0: slot 0 of 15*B bytes may be too small for buffer 't0' of 16*B bytes",
    ),
    "a number that is too small": (["slot 3 : 64", "slot 3 : 63"], "launch 1: slot 3 of 63 bytes may be too small for"),
    "a slot of unknown size": (
        ["t1 : f32[B, 3] in 2", "t1 : f32[B, 3] in 1"],
        "launch 2: slot 1 of 12*B+blocks bytes may be too small for buffer 't1' of 12*B bytes",
    ),
    "two temporaries in one slot": (
        ["small : f32[16] in 3", "small : f32[16] in 4", "more : f32[12] in 4", "more : f32[12] in 3"],
        None,
    ),
    "two live temporaries in one slot": (
        ["t0 : f32[B, 4] in 0", "t0 : f32[B, 4] in 2"],
        "launch 1: buffer 'scratch' is in slot 2, which buffer 't0' has from launch 0 to 4",
    ),
    "no slot": (["t0 : f32[B, 4] in 0", "t0 : f32[B, 4]"], "launch 0: buffer 't0' is in no slot"),
    "a read that does not wait for the write": (
        ["wait\n    stage first", "stage first"],
        "launch 1: stage 'first' does not wait for stage 'mul' at buffer 't0'",
    ),
    "a write that does not wait for the read": (
        [
            "    wait\n    stage second(rw scratch, rw small",
            "    stage second(rw small",
            "w scratch) over B",
            "r past.0.key) over B",
        ],
        "launch 1: stage 'second' does not wait for stage 'first' at buffer 'past.0.key'",
    ),
    "memory of a slot that is not waited for": (
        ["wait\n    stage split(r t0, w t1, rw more) one thread", "stage split(r t0, w t1, rw more) over B"],
        "launch 2: stage 'split' does not wait for stage 'second' at buffer 't1'",
    ),
    "arms of one branch need no wait": (
        [*ARMS[0], *ARM, "rw scratch, rw small", "w scratch, w small"],
        None,
    ),
    "arms of different branches": (
        [*ARMS[1], *ARM, "rw scratch, rw small", "w scratch, w small"],
        "launch 1: stage 'second' does not wait for stage 'first' at buffer 'scratch'",
    ),
    "scratch that only the other arm writes": (
        ["w scratch) over B", "w scratch) over B in arm 0 of branch 0", *ARM, "rw scratch, rw", "r scratch, w"],
        "launch 1: stage 'second' reads buffer 'scratch', which nothing was written to",
    ),
    "one thread needs no wait": (["wait\n    stage split", "stage split"], None),
}


@pytest.mark.parametrize(("changes", "problem"), CASES.values(), ids=list(CASES))
def test_a_broken_plan_is_refused(changes: list[str], problem: str | None) -> None:
    broken = plan(edited(*changes))
    if problem is None:
        verify_plan(broken)
        return
    with pytest.raises(VerificationError) as caught:
        verify_plan(broken)
    assert problem in str(caught.value)
    assert str(caught.value).isprintable()
