"""A block of a language model as text, small enough to write down the weights that a fold must touch."""

from __future__ import annotations

from graphwright.ir import Program, parse_program
from tests.passes.graphs import random_weight

WEIGHTS = {
    "table": (10, 8),
    "norm1": (8,),
    "qkv": (16, 8),
    "qkv_bias": (16,),
    "o": (8, 8),
    "norm2": (8,),
    "gate_up": (12, 8),
    "down": (8, 6),
    "norm3": (8,),
}

CALLED = """
graph forward(%input_ids: i64[B, S]) {{
  %0 = iota() {{size=S, dtype=i64}} : i64[S]
  %1 = reshape(%0) {{shape=[1, S]}} : i64[1, S]
  %2 = embedding(@table, %input_ids) : f32[B, S, 8]  at embed
  %3 = rms_norm(%2, @norm1) {{epsilon=1e-05}} : f32[B, S, 8]  at norm1
  %4 = linear(%3, @qkv, bias=@qkv_bias) : f32[B, S, 16]  at attention.qkv
  %5, %6, %7 = split(%4) {{axis=2, sizes=[8, 4, 4]}} : f32[B, S, 8], f32[B, S, 4], f32[B, S, 4]
  %8 = split_heads(%5) {{heads=4}} : f32[B, 4, S, 2]
  %9 = split_heads(%6) {{heads=2}} : f32[B, 2, S, 2]
  %10 = split_heads(%7) {{heads=2}} : f32[B, 2, S, 2]
  %11 = attention(%8, %9, %10, %1) {{scale=0.7, mask="causal"}} : f32[B, 4, S, 2]  at attention
  %12 = merge_heads(%11) : f32[B, S, 8]
  %13 = linear(%12, @o) : f32[B, S, 8]  at attention.o
  %14 = add(%2, %13) : f32[B, S, 8]  at block
  %15 = rms_norm(%14, @norm2) {{epsilon=1e-05}} : f32[B, S, 8]  at norm2
  %16 = linear(%15, @gate_up) : f32[B, S, 12]  at mlp.gate_up
  %17, %18 = split(%16) {{axis=2, sizes=[6, 6]}} : f32[B, S, 6], f32[B, S, 6]
  {unit}
  %20 = linear(%19, @down) : f32[B, S, 8]  at mlp.down
  %21 = {join} : f32[B, S, 8]  at block
  %22 = rms_norm(%21, @norm3) {{epsilon=1e-05}} : f32[B, S, 8]  at norm3
  %23 = linear(%22, @table) : f32[B, S, 10]  at head
  return logits=%23
}}
"""
UNIT = '%19 = glu(%17, %18) {kind="silu"} : f32[B, S, 6]  at mlp.unit'
JOIN = "add(%14, %20)"


def block(unit: str = UNIT, join: str = JOIN, dtype: str = "f32") -> Program:
    """A program `forward` with grouped queries, packed projections, and a table that the output head shares."""
    weights = "".join(random_weight(name, *shape) for name, shape in WEIGHTS.items())
    text = f'program "block"\n{weights}\n{CALLED.format(unit=unit, join=join)}'
    return parse_program(text.replace("f32", dtype) if dtype != "f32" else text)
