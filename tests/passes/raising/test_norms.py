from __future__ import annotations

from graphwright.passes.raising.norms import FuseNorms
from tests.passes.graphs import applied, body, program, random_weight

W = random_weight("w", 4) + random_weight("b", 4) + random_weight("wide", 7, 1)

RMS = """(%x: f32[B, S, 4]) {{
  %0 = constant() {{value=1e-05, dtype=f32}} : f32[]
  %1 = mul(%x, %x) : f32[B, S, 4]
  %2 = mean(%1) {{axes=[{axis}], keepdims=true}} : {mean}
  %3 = add(%2, {epsilon}) : {mean}
  %4 = rsqrt(%3) : {mean}
  %5 = mul(%x, %4) : f32[B, S, 4]
  %6 = mul({weight}, %5) : f32[B, S, 4]  at model.norm
  return y=%6
}}"""


def rms(axis: int = 2, mean: str = "f32[B, S, 1]", epsilon: str = "%0", weight: str = "@w") -> str:
    return RMS.format(axis=axis, mean=mean, epsilon=epsilon, weight=weight)


def test_rms_norm() -> None:
    text, _ = applied(program(rms(), W), FuseNorms())
    assert text == (
        "graph forward(%x: f32[B, S, 4]) {\n"
        "  %0 = rms_norm(%x, @w) {epsilon=1e-05} : f32[B, S, 4]  at model.norm\n"
        "  return y=%0\n"
        "}\n"
    )


def test_a_mean_over_another_axis_is_a_near_miss() -> None:
    text, misses = applied(program(rms(axis=1, mean="f32[B, 1, 4]"), W), FuseNorms())
    assert "rms_norm" not in text
    assert [str(m) for m in misses] == ["fuse-rms-norm at model.norm: expected mean over the last axis, found axis 1"]


def test_a_factor_that_is_no_weight_of_the_axis_is_refused() -> None:
    text, misses = applied(program(rms(weight="%x"), W), FuseNorms())
    assert "rms_norm" not in text
    assert any("is no weight of the last axis" in m.reason for m in misses), misses


def test_rms_norm_in_half_precision_is_one_op_without_casts() -> None:
    before = program(
        """(%x: bf16[B, S, 4]) {
  %0 = cast(%x) {dtype=f32} : f32[B, S, 4]
  %1 = constant() {value=1e-05, dtype=f32} : f32[]
  %2 = mul(%0, %0) : f32[B, S, 4]
  %3 = mean(%2) {axes=[2], keepdims=true} : f32[B, S, 1]
  %4 = add(%3, %1) : f32[B, S, 1]
  %5 = rsqrt(%4) : f32[B, S, 1]
  %6 = mul(%0, %5) : f32[B, S, 4]
  %7 = cast(%6) {dtype=bf16} : bf16[B, S, 4]
  %8 = mul(@w, %7) : bf16[B, S, 4]
  return y=%8
}""",
        "weight @w : bf16[4] = data([1.0, 0.5, 2.0, 1.5]) : bf16[4]\n",
    )
    assert body(applied(before, FuseNorms())[0]) == ["rms_norm"]


LAYER = """(%x: f32[B, S, 4]) {{
  %0 = constant() {{value=1e-05, dtype=f32}} : f32[]
  %1 = mean(%x) {{axes=[2], keepdims=true}} : f32[B, S, 1]
  %2 = sub(%x, %1) : f32[B, S, 4]
  %3 = {variance} : f32[B, S, 1]
  %4 = add(%3, %0) : f32[B, S, 1]
  %5 = rsqrt(%4) : f32[B, S, 1]
  %6 = mul(%2, %5) : f32[B, S, 4]
  %7 = mul(%6, @w) : f32[B, S, 4]
  {rest}
}}"""


def test_layer_norm_with_and_without_bias() -> None:
    variance = "var(%x) {axes=[2], keepdims=true}"
    plain, _ = applied(program(LAYER.format(variance=variance, rest="return y=%7"), W), FuseNorms())
    biased = LAYER.format(variance=variance, rest="%8 = add(%7, @b) : f32[B, S, 4]\n  return y=%8")
    assert "layer_norm(%x, weight=@w) {epsilon=1e-05}" in plain
    assert "layer_norm(%x, weight=@w, bias=@b) {epsilon=1e-05}" in applied(program(biased, W), FuseNorms())[0]


def test_a_second_moment_is_no_variance() -> None:
    """x² averaged, with the mean still subtracted above: neither norm."""
    before = program(
        """(%x: f32[B, S, 4]) {
  %0 = constant() {value=1e-05, dtype=f32} : f32[]
  %1 = mean(%x) {axes=[2], keepdims=true} : f32[B, S, 1]
  %2 = sub(%x, %1) : f32[B, S, 4]
  %3 = mul(%x, %x) : f32[B, S, 4]
  %4 = mean(%3) {axes=[2], keepdims=true} : f32[B, S, 1]
  %5 = add(%4, %0) : f32[B, S, 1]
  %6 = rsqrt(%5) : f32[B, S, 1]
  %7 = mul(%2, %6) : f32[B, S, 4]
  %8 = mul(%7, @w) : f32[B, S, 4]
  return y=%8
}""",
        W,
    )
    text, _ = applied(before, FuseNorms())
    assert "norm(" not in text
