"""`graphwright explain`: where rules matched, where they nearly did, and what stopped them."""

import json
from pathlib import Path

import pytest

from graphwright.cli.module_ranges import module_ranges
from tests.graphwright import models
from tests.graphwright.commands import Commands

NORM = """program "norms"
weight @w : f32[4] = data([1.0, 1.0, 1.0, 1.0]) : f32[4]
graph forward(%x: f32[B, S, 4]) {{
  %c = constant() {{value=1e-05, dtype=f32}} : f32[]
  {norms}
  return y=%y{last}
}}
"""


def norm(layer: int, value: str, axis: int = 2) -> str:
    mean = "f32[B, S, 1]" if axis == 2 else "f32[B, 1, 4]"
    at = f"at model.layers.{layer}.norm"
    return f"""%a{layer} = mul({value}, {value}) : f32[B, S, 4] {at}
  %m{layer} = mean(%a{layer}) {{axes=[{axis}], keepdims=true}} : {mean} {at}
  %s{layer} = add(%m{layer}, %c) : {mean} {at}
  %r{layer} = rsqrt(%s{layer}) : {mean} {at}
  %n{layer} = mul({value}, %r{layer}) : f32[B, S, 4] {at}
  %y{layer} = mul(%n{layer}, @w) : f32[B, S, 4] {at}"""


THREE = NORM.format(norms="\n  ".join([norm(0, "%x"), norm(1, "%y0"), norm(2, "%y1", axis=1)]), last=2)


def test_where_a_rule_matched_and_where_it_nearly_did(commands: Commands, tmp_path: Path) -> None:
    (tmp_path / "norms.gw").write_text(THREE)
    said = """fuse-rms-norm (of fuse-norms)
  matched 2 times: model.layers.0-1.norm
  near miss at model.layers.2.norm: expected mean over the last axis, found axis 1 at model.layers.2.norm
"""
    assert commands.succeed("explain", tmp_path / "norms.gw", "--rule", "fuse-rms-norm") == said
    assert commands.succeed("explain", "-", "--rule", "fuse-rms-norm", "--passes", "fuse-norms", stdin=THREE) == said


def test_every_rule(commands: Commands) -> None:
    output = commands.succeed("explain", "-", "--passes", "fuse-norms,fuse-glu", stdin=THREE)
    assert output.startswith("fuse-rms-norm (of fuse-norms)\n  matched 2 times")
    assert output.endswith("nothing near: fuse-layer-norm, centred-rms-norm, add-norm-bias, fuse-glu\n")


def test_a_rule_that_never_came_near(commands: Commands) -> None:
    output = commands.succeed("explain", "-", "--rule", "fuse-norms", stdin=THREE)
    assert "fuse-layer-norm (of fuse-norms)\n  no match, and nothing near: of 3 mul ops none has half of what" in output
    nothing = commands.succeed("explain", "-", "--rule", "raise-heads", stdin=THREE)
    assert "raise-split-heads (of raise-heads)\n  no match: there is no transpose, at which it begins\n" in nothing
    masks = commands.succeed("explain", "-", "--rule", "mask-causal", stdin=THREE)
    assert masks == "mask-causal (of raise-masks)\n  no match, and nothing near\n"


def test_json(commands: Commands) -> None:
    said = json.loads(commands.succeed("explain", "-", "--rule", "fuse-rms-norm", "--json", stdin=THREE))
    (rule,) = said["rules"]
    assert (said["program"], said["refusal"], said["passes"][0]) == ("norms", None, "convert-dtype")
    assert rule["matched"] == {"model.layers.0.norm": 1, "model.layers.1.norm": 1}
    assert rule["begins_at"] == ["mul"]
    (miss,) = rule["near_misses"]
    assert (miss["location"], miss["matched"]) == ("model.layers.2.norm", 5)


def test_models_are_captured_and_a_refusal_is_told_last(commands: Commands) -> None:
    output = commands.succeed("explain", f"{Path(models.__file__)}:two_way")
    assert "raise-split-heads (of raise-heads)\n  matched 3 times\n" in output
    assert output.splitlines()[-1].startswith("the run ended: insert-kv-cache: ")
    late = commands.succeed("explain", f"{Path(models.__file__)}:two_way", "--rule", "qkv")
    assert late.startswith("qkv (of pack-projections)\n  its pass did not run\nthe run ended: ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rule", "fuse-rmsnorm"], "there is no rule 'fuse-rmsnorm': did you mean 'fuse-rms-norm'?"),
        (["--rule", "zzz"], "there is no rule 'zzz': `graphwright explain MODEL` names those that apply"),
        (["--rule", "fuse-glu", "--passes", "fuse-norms"], "'fuse-glu' belongs to the pass fuse-glu, which is not run"),
        (["--rule", "rope", "--passes", "fuse-norms"], "'rope' belongs to the pass raise-rotary, which is not run"),
        (["--passes", "fuse-nroms"], "did you mean 'fuse-norms'?"),
        (["--passes", "fuse-norms", "--pipeline", "raise"], "not both"),
    ],
)
def test_bad_options(commands: Commands, options: list[str], message: str) -> None:
    assert message in commands.fail("explain", "-", *options, stdin=THREE)


@pytest.mark.parametrize(
    ("locations", "expected"),
    [
        ([], []),
        (["", "model.norm"], ["", "model.norm"]),
        (["m.0.a", "m.1.a", "m.2.a", "m.4.a", "m.0.b"], ["m.0-2,4.a", "m.0.b"]),
        (["m.2", "m.10", "m.3"], ["m.2-3,10"]),
        (["m.0.h.1", "m.0.h.2", "m.1.h.1"], ["m.0-1.h.1", "m.0.h.2"]),
        (["layer1.x", "layer2.x"], ["layer1.x", "layer2.x"]),
    ],
)
def test_many_modules_in_few_words(locations: list[str], expected: list[str]) -> None:
    assert module_ranges(locations) == expected
