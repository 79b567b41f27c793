"""The barrier between stages: a counter that every thread raises and then watches.

It costs much less than to start a parallel region of TVM's thread pool, as long as all threads run.
TensorIR has no atomic operations, so it is written in LLVM's language.
"""

from __future__ import annotations

from typing import Any

from graphwright.backends.tvm.tvm_library import tirx

NAME = "graphwright_barrier"
PRAGMA = "pragma_import_llvm"

PATIENCE = 2_000
"""Looks at the counter before a thread gives its core to others: some ten microseconds, more than threads that all run
wait for each other, and little where one of them has no core."""

CODE = f"""
define linkonce_odr void @{NAME}(ptr %counter, i32 %parts) #0 {{
entry:
  %count = zext i32 %parts to i64
  %ticket = atomicrmw add ptr %counter, i64 1 acq_rel
  %round = udiv i64 %ticket, %count
  %next = add i64 %round, 1
  %goal = mul i64 %next, %count
  br label %look
look:
  %looks = phi i64 [ 0, %entry ], [ %more, %spin ], [ %more, %yield ]
  %more = add i64 %looks, 1
  %seen = load atomic i64, ptr %counter acquire, align 8
  %met = icmp uge i64 %seen, %goal
  br i1 %met, label %done, label %wait
wait:
  %long = icmp uge i64 %looks, {PATIENCE}
  br i1 %long, label %yield, label %spin
yield:
  %ignored = call i32 @sched_yield()
  br label %look
spin:
  call void asm sideeffect "pause", "~{{memory}}"()
  br label %look
done:
  ret void
}}
declare i32 @sched_yield()
attributes #0 = {{ nounwind noinline }}
"""
"""`pause` is x86's; other machines need another hint."""


def barrier(counter: Any, parts: Any) -> Any:
    """A statement that waits for all parts.

    `counter` is the address of 8 bytes, at first zero, that only barriers of as many parts use.
    """
    return tirx.Evaluate(tirx.call_extern("void", NAME, counter, parts))
