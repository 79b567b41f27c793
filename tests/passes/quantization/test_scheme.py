"""Names of schemes: what passes they stand for, and what is said of names that stand for none."""

from __future__ import annotations

import pytest

from graphwright.ir import PassError, parse_program
from graphwright.passes.quantization import Budget, QuantizeWeights, parse_scheme, shares_embedding
from graphwright.passes.quantization.scheme import Step


def steps(name: str, tied: bool = False, budget: Budget | None = None) -> list[str]:
    return [str(step) for step in parse_scheme(name).steps(tied, "t.npy", "work", budget)]


def weights(to: str, group: int, method: str = "mse", scale: str = "f32", layers: str = "", minimum: str = "") -> str:
    layers = layers and f', layers="{layers}"'
    return f'quantize-weights{{to="{to}", group={group}, scale="{scale}"{minimum}, method="{method}"{layers}}}'


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("w4a16-g128", [weights("i4", 128)]),
        ("w4", [weights("i4", 128)]),
        ("W4A16-G32-rtn", [weights("i4", 32, "absmax")]),
        ("w4a16-g64-asym", [weights("u4", 64)]),
        ("w4a16-g32-min", [weights("u4", 32, minimum=", minimum=true")]),
        (
            "w8a8-g32-min",
            [weights("u8", 32, minimum=", minimum=true"), 'quantize-activations{to="i8", group=32}'],
        ),
        ("w3-channel", [weights("i3", 0)]),
        ("w8", [weights("u8", 128)]),
        ("w8a16-g32", [weights("u8", 32)]),
        ("w8-sym-channel", [weights("i8", 0)]),
        ("fp8", [weights("f8e4m3", 0)]),
        ("mxfp4", [weights("f4e2m1", 32, scale="f8e8m0")]),
        ("nvfp4-rtn", [weights("f4e2m1", 16, "absmax", "f8e4m3")]),
        ("w8a8", [weights("i8", 0), 'quantize-activations{to="i8", group=0}']),
        ("w4a8-g32", [weights("i4", 32), 'quantize-activations{to="i8", group=32}']),
        ("kv16", ["halve-cache"]),
        ("kv8", ['quantize-cache{bits=8, keys="channel", values="channel", tokens="t.npy"}']),
        ("kv8-tensor", ['quantize-cache{bits=8, keys="tensor", values="tensor", tokens="t.npy"}']),
        ("kv4-kivi", ['quantize-cache{bits=4, keys="channel", values="token", tokens="t.npy"}']),
        (
            "w4a16-g128-awq",
            ['awq{to="i4", group=128, scale="f32", method="mse", tokens="t.npy"}', weights("i4", 128)],
        ),
        (
            "w3-g64-rtn-awq+head=w8",
            [
                'awq{to="i3", group=64, scale="f32", method="absmax", tokens="t.npy", layers="body"}',
                weights("i3", 64, "absmax", layers="body"),
                weights("u8", 128, layers="head"),
            ],
        ),
        (
            "w8a8-smoothquant-rotate",
            [
                "rotate-residual",
                'smooth-quant{tokens="t.npy"}',
                weights("i8", 0),
                'quantize-activations{to="i8", group=0}',
            ],
        ),
        (
            "w4a8-g128+head=w8",
            [
                weights("i4", 128, layers="body"),
                weights("u8", 128, layers="head"),
                'quantize-activations{to="i8", group=128, layers="body"}',
            ],
        ),
        ("w4a16-g128, head=none", [weights("i4", 128, layers="body")]),
        (
            "w4a16-g32+kv4",
            [weights("i4", 32), 'quantize-cache{bits=4, keys="channel", values="channel", tokens="t.npy"}'],
        ),
        (
            "w4a16-g128+embedding=w8",
            [weights("i4", 128), 'quantize-embedding{to="u8", group=128, scale="f32", method="mse"}'],
        ),
    ],
)
def test_a_name_stands_for_passes(name: str, wanted: list[str]) -> None:
    assert steps(name) == wanted


def test_gptq_reads_tokens_and_keeps_what_is_done() -> None:
    (step,) = steps("w4a8-g128-gptq+embedding=none")[:1]
    assert step.endswith('method="gptq", tokens="t.npy", folder="work/all"}')
    body, head = steps("w4-gptq+head=w8-gptq")
    assert body.endswith('layers="body", tokens="t.npy", folder="work/body"}')
    assert head.endswith('layers="head", tokens="t.npy", folder="work/head"}')


def test_a_tied_embedding_is_stored_as_the_head_is() -> None:
    embedding = 'quantize-embedding{to="i4", group=128, scale="f32", method="mse"}'
    assert steps("w4a16-g128-gptq", tied=True)[1:] == [embedding]
    assert steps("w4a16-g128+head=w8", tied=True)[2:] == [
        'quantize-embedding{to="u8", group=128, scale="f32", method="mse"}'
    ]
    for name in ("w4a16-g128+embedding=none", "w4a16-g128+head=none", "kv8"):
        assert not any("embedding" in step for step in steps(name, tied=True))


def test_mixed_precision_takes_its_budget() -> None:
    assert steps("mixed", budget=Budget(bits=4.5)) == ['mixed-precision{bits=4.5, tokens="t.npy"}']
    assert steps("mixed+kv8", budget=Budget(max_kl=0.02))[0] == 'mixed-precision{max_kl=0.02, tokens="t.npy"}'


def test_methods_that_look_at_what_is_computed_need_tokens() -> None:
    for name in ("w4-gptq", "w4-awq", "w4+head=w8-gptq", "w8a8-smoothquant", "kv8", "mixed"):
        assert parse_scheme(name).needs_tokens, name
    for name in ("w4", "w8a8", "w4-rotate", "w4-rtn+embedding=w8", "w4+kv16"):
        assert not parse_scheme(name).needs_tokens, name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("w4b16-g32-gptq", "there is no scheme 'w4b16-g32-gptq': did you mean 'w4a16-g32-gptq'\\? \\(a scheme is"),
        ("", "there is no scheme '' \\(a scheme is"),
        ("w4++kv8", "there is no scheme '' in 'w4\\+\\+kv8'"),
        ("w5a16-g128", "did you mean 'w[0-9a]*-g128'"),
        ("kv32", "there is no scheme .kv32. .a scheme is .*kv16, kv8 or kv4"),
        ("w4a16-g36", "'w4a16-g36': groups have 16, 32, 64, 128, 256 inputs, not 36"),
        ("w4-fast", "there is no scheme 'w4-fast'"),
        ("w4-gptq-gptq", "says 'gptq' twice"),
        ("w4-gptq-rtn", "codes are chosen by gptq or by rtn, not both"),
        ("w4-min-asym", "weights are min or asym, not both"),
        ("mxfp4-min", "mxfp4 has its own groups and scales; leave out -min"),
        ("w8a8-awq-smoothquant", "AWQ and SmoothQuant scale the same inputs"),
        ("w4-smoothquant", "SmoothQuant prepares activations in int8, as in w8a8-smoothquant"),
        ("mxfp4-g64", "mxfp4 has its own groups and scales; leave out -g64"),
        ("w4+w8", "says twice what weights become: 'w4' and 'w8'"),
        ("kv4+kv8", "says twice what the cache becomes"),
        ("w4+heads=w8", "has nothing called 'heads': write head=… or embedding=…"),
        ("w4+head=kv8", "there is no scheme 'kv8' in 'w4\\+head=kv8'"),
        ("w4+head=w8-awq", "-awq prepares the body's weights; leave it out of head=w8-awq"),
        ("w4+embedding=w8a8", "an embedding multiplies no activations; write embedding=w8"),
        ("w4+embedding=w4-gptq", "an embedding is none"),
    ],
)
def test_a_name_that_stands_for_nothing_is_refused(name: str, message: str) -> None:
    with pytest.raises(PassError, match=message):
        parse_scheme(name)


def test_steps_become_passes() -> None:
    (step,) = parse_scheme("w4a16-g32-rtn").steps(tied=False)
    assert step.make() == QuantizeWeights("i4", 32, "absmax")
    for wrong in (Step("quantize-wights", {}), Step("quantize-weights", {"two": "i4"})):
        with pytest.raises(PassError, match=f"there is no pass '?{wrong.name}"):
            wrong.make()
    with pytest.raises(PassError, match="one of 'i8', 'u8'"):
        Step("quantize-weights", {"to": "i5"}).make()


def test_an_embedding_is_shared_where_the_head_is_its_weight() -> None:
    text = """
program "p"
weight @a : f32[6, 8] = data([{numbers}]) : f32[6, 8]
weight @b : f32[6, 8] = data([{others}]) : f32[6, 8]
graph forward(%ids: i64[B, S]) {{
  %0 = embedding(@a, %ids) : f32[B, S, 8]
  %1 = linear(%0, @{head}) : f32[B, S, 6]
  return logits=%1
}}
"""
    numbers, others = ", ".join(["1.0"] * 48), ", ".join(["2.0"] * 48)
    for head, shared in (("a", True), ("b", False)):
        program = parse_program(text.format(numbers=numbers, others=others, head=head))
        program.erase_unused_weights()
        assert shares_embedding(program) == shared
