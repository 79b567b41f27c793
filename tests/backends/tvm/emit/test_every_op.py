"""Every op of the IR as the TVM backend runs it, beside its reference."""

from __future__ import annotations

from pathlib import Path

import torch

from graphwright.ir import Graph, QuantizedType, ops
from graphwright.ir.interpreter import apply_reference
from graphwright.ir.text import parse_type
from graphwright.ir.types import tensor
from tests.backends.tvm.steps import Steps
from tests.ir.cases import CASES, Case

OTHERS = (ops.pack_bits, ops.unpack_bits)
"""Ops on codes of less than a byte, which are evaluated when weights are written."""


def graph(case: Case, name: str) -> Graph:
    """The case as a graph whose sizes can be read off its inputs."""
    g = Graph(name)
    for symbol in ("B", "S", "P"):
        g.add_input(f"size_{symbol}", tensor("i64", symbol))
    values = [None if t is None else g.add_input(f"x{i}", parse_type(t)) for i, t in enumerate(case.operands)]
    op = g.insert(case.op, values, case.attributes)
    g.outputs = {f"y{i}": value for i, value in enumerate(op.results)}
    return g


if __name__ == "__main__":
    import collections
    import sys
    import time
    import traceback

    from graphwright.backends.tvm.cpu import host_cpu
    from graphwright.ir.errors import UnsupportedError
    bad = collections.Counter()
    good = []
    only = sys.argv[1:]
    for i, case in enumerate(CASES):
        if only and case.op.name not in only: continue
        if any(isinstance(parse_type(t), QuantizedType) for t in case.operands if t) or (not only and case.op.name == "attention"): continue
        try:
            g = graph(case, f"case_{i}")
        except Exception as error:
            print("build", case, error); continue
        from graphwright.backends.tvm.emit import emit_function
        from graphwright.backends.tvm.tvm_library import relax
        try:
            emit_function(relax.BlockBuilder(), graph(case, "f"), host_cpu(), {})
            good.append((i, case, g))
        except UnsupportedError as error:
            bad[str(error)] += 1
        except Exception as error:
            print("EMIT", case, type(error), str(error)[-300:])
            if only: traceback.print_exc()
    print(len(good)); print(*bad.items(), sep="\n")
    t = time.time()
    try:
        steps = Steps([g for _, _, g in good], Path("/tmp/w/p"))
    except Exception:
        traceback.print_exc()
        for i, case, g in good:
            try: Steps([g], Path("/tmp/w/p"))
            except Exception as error: print("LOWER", case, str(error)[-400:])
        sys.exit()
    print("compile", time.time() - t)
    t = time.time()
    for i, case, g in good:
        for sizes in ({"B": 2, "S": 3, "P": 5}, {"B": 1, "S": 1, "P": 1}, {"B": 3, "S": 4, "P": 2}):
            operands = case.sample(sizes, torch.Generator().manual_seed(1))
            inputs = {f"x{j}": v for j, v in enumerate(operands) if v is not None}
            inputs |= {f"size_{k}": torch.zeros(n, dtype=torch.int64) for k, n in sizes.items()}
            types = [v.type for v in g.outputs.values()]
            op = next(iter(g))
            want = apply_reference(case.op, operands, op.attributes, types, sizes)
            print(i, case, flush=True) if only else None
            got = steps.run(f"case_{i}", inputs)
            for w, y in zip(want, got.values(), strict=True):
                if w.dtype.is_floating_point:
                    err = (w.double() - y.double()).abs().max().item() if w.numel() else 0
                    rel = err / (w.double().abs().max().item() + 1e-30) if w.numel() else 0
                    if not rel < 1e-5 and not (w.dtype is torch.bfloat16 and rel < 1e-2): print("BAD", i, case, sizes, err, rel)
                elif not torch.equal(w, y): print("BAD", i, case, sizes, w, y)
    print("run", time.time() - t)
