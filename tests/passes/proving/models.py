"""A tiny language model as text: embedding, some equal layers of norm, attention and a gated unit, head."""

from __future__ import annotations

from graphwright.ir import Program, parse_program
from tests.passes.graphs import random_weight

LAYER = """
  %n{i} = rms_norm(%x{i}, @norm) {{epsilon=1e-05}} : f32[B, S, 8]  at layers.{i}.norm
  %q{i} = linear(%n{i}, @q.{i}) : f32[B, S, 8]  at layers.{i}.attn.q
  %k{i} = linear(%n{i}, @k.{i}) : f32[B, S, 4]  at layers.{i}.attn.k
  %v{i} = linear(%n{i}, @v.{i}) : f32[B, S, 4]  at layers.{i}.attn.v
  %qh{i} = split_heads(%q{i}) {{heads=2}} : f32[B, 2, S, 4]  at layers.{i}.attn
  %kh{i} = split_heads(%k{i}) {{heads=1}} : f32[B, 1, S, 4]  at layers.{i}.attn
  %vh{i} = split_heads(%v{i}) {{heads=1}} : f32[B, 1, S, 4]  at layers.{i}.attn
  %qr{i} = rope(%qh{i}, %pos, @f) {{interleaved=false}} : f32[B, 2, S, 4]  at layers.{i}.attn
  %kr{i} = rope(%kh{i}, %pos, @f) {{interleaved=false}} : f32[B, 1, S, 4]  at layers.{i}.attn
  %a{i} = attention(%qr{i}, %kr{i}, %vh{i}, %pos) {{scale=0.5, mask={mask}}} : f32[B, 2, S, 4]  at layers.{i}.attn
  %m{i} = merge_heads(%a{i}) : f32[B, S, 8]  at layers.{i}.attn
  %h{i} = linear(%m{i}, @o.{i}) : f32[B, S, 8]  at layers.{i}.attn.o
  %g{i} = glu(%h{i}, %n{i}) {{kind="silu"}} : f32[B, S, 8]  at layers.{i}.mlp
  %x{next} = add(%x{i}, %g{i}) : f32[B, S, 8]  at layers.{i}"""

CAUSAL = '"causal"'
SLIDING = '"sliding", window=6'


def language_model(masks: tuple[str, ...] = (CAUSAL, SLIDING), context: int = 64) -> Program:
    """One layer for each mask. The table has rows near zero: there the norm's epsilon decides."""
    table = ", ".join(str(v if row > 2 else v / 512) for row in range(16) for v in _row(row))
    weights = f"weight @table : f32[16, 8] = data([{table}]) : f32[16, 8]\n"
    weights += random_weight("norm", 8) + "weight @f : f32[2] = data([1.0, 0.1]) : f32[2]\n"
    for i in range(len(masks)):
        for name, size in (("q", 8), ("k", 4), ("v", 4), ("o", 8)):
            weights += random_weight(f"{name}.{i}", size, 8)
    layers = "".join(LAYER.format(i=i, next=i + 1, mask=mask) for i, mask in enumerate(masks))
    return parse_program(
        f"""program "tiny" {{context_length={context}}}
{weights}
graph forward(%input_ids: i64[B, S]) {{
  %i = iota() {{size=S, dtype=i64}} : i64[S]
  %pos = reshape(%i) {{shape=[1, S]}} : i64[1, S]
  %x0 = embedding(@table, %input_ids) : f32[B, S, 8]  at embed{layers}
  %logits = linear(%x{len(masks)}, @table) : f32[B, S, 16]  at head
  return logits=%logits
}}"""
    )


def _row(row: int) -> list[float]:
    return [((row * 7 + i * 5 + row * i) % 13 - 6) / 8 for i in range(8)]
