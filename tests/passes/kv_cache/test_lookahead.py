"""Whether tokens see later ones, found by trying."""

from __future__ import annotations

import pytest

from graphwright.ir import PassError
from graphwright.passes import run_passes
from graphwright.passes.kv_cache.insert_kv_cache import InsertKVCache
from graphwright.passes.kv_cache.lookahead import LARGEST, NotCausalError, sees_later_tokens
from tests.passes.graphs import program, random_weight

TABLE = random_weight("table", 10, 4)
MEAN = "%m = mean(%x) {axes=[1], keepdims=true} : f32[B, 1, 4]\n  %y = add(%x, %m) : f32[B, S, 4]"
COUNTED = "%n = dim_value() {value=S} : i64[]\n  %f = cast(%n) {dtype=f32} : f32[]\n  %y = mul(%x, %f) : f32[B, S, 4]"


def _text(body: str) -> str:
    return f"""(%input_ids: i64[B, S]) {{
  %x = embedding(@table, %input_ids) : f32[B, S, 4]
  {body}
  %logits = linear(%y, @table) : f32[B, S, 10]
  return logits=%logits
}}"""


def test_a_mean_of_all_tokens_sees_later_ones() -> None:
    made = program(_text(MEAN), TABLE)
    assert sees_later_tokens(made.graphs["forward"]) is True
    with pytest.raises(NotCausalError, match=r"it mixes tokens along axis 1 .*; tokens see later ones, so there"):
        run_passes(made, [InsertKVCache()])


def test_the_length_alone_shows_no_later_token() -> None:
    made = program(_text(COUNTED), TABLE)
    assert sees_later_tokens(made.graphs["forward"]) is False
    with pytest.raises(
        PassError, match=r"how long the whole sequence is.*; tried out, no token saw a later one"
    ) as caught:
        run_passes(made, [InsertKVCache()])
    assert not isinstance(caught.value, NotCausalError)


def test_large_models_and_others_are_not_tried() -> None:
    rows = LARGEST // 4 + 1
    weight = f'weight @table : f32[{rows}, 4] = file("none.safetensors", "t") : f32[{rows}, 4]\n'
    made = program(_text(MEAN).replace("S, 10]", f"S, {rows}]"), weight)
    assert sees_later_tokens(made.graphs["forward"]) is None
    assert sees_later_tokens(program("(%x: f32[B]) {\n  return logits=%x\n}").graphs["forward"]) is None
