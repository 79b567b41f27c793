"""A checkpoint's settings, from its files to the text: greedy ids are those of transformers' own `generate`."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

import graphwright
from graphwright import UsageError
from graphwright.compiling.compiler import Options, build
from graphwright.ir import Program
from graphwright.ir.notices import Notice
from graphwright.runtime import ContextError, GenerationError
from graphwright.runtime.settings import read_settings
from graphwright.sources.generation_settings import check_special_tokens, read_generation_settings
from graphwright.sources.models import resolve
from tests.tensors import manual_seed

PROMPT = [5, 17, 9, 5, 17]
NEW_TOKENS = 14


@pytest.fixture(scope="module")
def eager() -> Any:
    """A Llama of one layer, random but with much to say."""
    config = LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=40,
        bos_token_id=1,
        eos_token_id=2,
        attn_implementation="eager",  # pyright: ignore[reportCallIssue] - taken by all, declared by none
    )
    manual_seed(0)
    module = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.mul_(20 if parameter.dim() > 1 else 1)
    return module


@pytest.fixture(scope="module")
def folder(eager: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint."""
    folder = tmp_path_factory.mktemp("checkpoint") / "talkative"
    eager.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def compiled(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> graphwright.CompiledModel:
    return graphwright.compile(folder, output=tmp_path_factory.mktemp("artifact") / "talkative", threads=1)


@pytest.fixture
def checkpoint_copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "checkpoint"))


@pytest.fixture(scope="module")
def plain(eager: Any) -> list[int]:
    """The greedy continuation without any setting."""
    return generated(eager, {})


def generated(eager: Any, settings: dict[str, Any], prompt: list[int] = PROMPT, count: int = NEW_TOKENS) -> list[int]:
    """What transformers generates."""
    ids = torch.tensor([prompt])
    config = GenerationConfig(max_new_tokens=count, eos_token_id=2, pad_token_id=0, **settings)
    out = eager.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return out[0, len(prompt) :].tolist()


def each_option(plain: list[int]) -> dict[str, Any]:
    """A value of every option that changes what is chosen, made from what is chosen without."""
    return {
        "suppress_tokens": plain[:2],
        "begin_suppress_tokens": plain[:1],
        "bad_words_ids": [plain[:1], plain[2:4], [2]],
        "no_repeat_ngram_size": 1,
        "encoder_no_repeat_ngram_size": 1,
        "repetition_penalty": 5.0,
        "encoder_repetition_penalty": 50.0,
        "sequence_bias": [[plain[:1], -50.0], [plain[2:4], -50.0]],
        "forced_eos_token_id": 2,
        "exponential_decay_length_penalty": (2, 4.0),
    }


@pytest.mark.parametrize("name", each_option([0, 1, 2, 3]))
def test_an_option_does_what_it_does_in_transformers(
    name: str, compiled: graphwright.CompiledModel, eager: Any, plain: list[int]
) -> None:
    value = each_option(plain)[name]
    expected = generated(eager, {name: value})
    assert expected != plain
    options: Any = {name: value, "max_new_tokens": NEW_TOKENS, "temperature": 0}
    assert compiled.generate(PROMPT, **options) == expected
    # A row does not depend on its batch.
    assert compiled.generate([[3], PROMPT, [8, 9]], **options)[1] == expected


@pytest.mark.parametrize("option", [{"min_length": 9}, {"min_new_tokens": 6}, {"min_length": 30, "min_new_tokens": 2}])
def test_least_lengths_are_those_of_transformers(
    option: dict[str, Any], compiled: graphwright.CompiledModel, eager: Any
) -> None:
    early: dict[str, Any] = {"sequence_bias": [[[2], 1000.0]]}
    assert compiled.generate(PROMPT, max_new_tokens=NEW_TOKENS, **early) == [2]
    expected = generated(eager, early | option)
    assert 1 < len(expected) < NEW_TOKENS
    assert compiled.generate(PROMPT, max_new_tokens=NEW_TOKENS, **early, **option) == expected


def test_a_forced_first_token_is_that_of_transformers(compiled: graphwright.CompiledModel, eager: Any) -> None:
    settings: Any = {"forced_bos_token_id": 44, "begin_suppress_tokens": [5]}
    expected = generated(eager, settings, [5])
    assert expected[0] == 44
    assert compiled.generate([5], max_new_tokens=NEW_TOKENS, **settings) == expected
    assert compiled.generate(PROMPT, max_new_tokens=NEW_TOKENS, **settings) == generated(eager, settings)


def test_the_end_may_be_ignored(compiled: graphwright.CompiledModel) -> None:
    options: Any = {"logit_bias": {2: 1000.0}, "max_new_tokens": 5}
    assert compiled.generate(PROMPT, **options) == [2]
    assert compiled.generate(PROMPT, ignore_eos=True, **options) == [2] * 5
    assert compiled.generate(PROMPT, ignore_eos=True, stop_tokens=[2], **options) == [2]


def test_a_model_that_hears_nothing_knows_no_languages(compiled: graphwright.CompiledModel) -> None:
    for option in ({"language": "en"}, {"task": "translate"}):
        with pytest.raises(GenerationError, match="language and task are options of a model of speech"):
            compiled.generate(PROMPT, **cast(Any, option))


def test_tokens_outside_the_vocabulary_are_refused_as_arguments(compiled: graphwright.CompiledModel) -> None:
    for name, value in {"logit_bias": {64: 1.0}, "bad_words_ids": [[1, 64]], "forced_bos_token_id": 64}.items():
        with pytest.raises(GenerationError, match=f"{name} holds the token id 64 at position .*, outside"):
            compiled.generate(PROMPT, **cast(Any, {name: value}))


def test_log_probabilities_are_the_models_own_whatever_is_forbidden(compiled: graphwright.CompiledModel) -> None:
    (free,) = compiled.complete(PROMPT, max_new_tokens=1, logprobs=2)
    assert free.log_probabilities is not None
    best = free.log_probabilities[0]
    (bound,) = compiled.complete(PROMPT, max_new_tokens=1, logprobs=2, suppress_tokens=[best.token_id])
    assert bound.log_probabilities is not None
    second = bound.log_probabilities[0]
    assert (second.token_id, second.log_probability) == best.alternatives[1]
    assert second.alternatives == best.alternatives


def test_sampling_repeats_by_seed_whatever_the_batch(compiled: graphwright.CompiledModel) -> None:
    options: dict[str, Any] = {
        "temperature": 1.5,
        "typical_p": 0.95,
        "eta_cutoff": 1e-4,
        "frequency_penalty": 0.7,
        "top_h": 0.9,
        "no_repeat_ngram_size": 2,
        "max_new_tokens": NEW_TOKENS,
        "seed": 3,
    }
    alone = compiled.generate(PROMPT, **options)
    assert compiled.generate(PROMPT, **options) == alone
    assert compiled.generate([PROMPT, [8], [1, 2, 3]], **options)[0] == alone
    options["seed"] = 4
    assert compiled.generate(PROMPT, **options) != alone


def write_settings(folder: Path, **settings: Any) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 2, "bos_token_id": 1, **settings}))


def test_the_file_of_a_checkpoint_is_followed(checkpoint_copy: Path, eager: Any, plain: list[int]) -> None:
    settings: Any = {
        "suppress_tokens": plain[:1],
        "no_repeat_ngram_size": 2,
        "bad_words_ids": [[plain[2]]],
        "encoder_repetition_penalty": 1.5,
        "repetition_penalty": 1.2,
        "forced_eos_token_id": 2,
    }
    write_settings(checkpoint_copy, **settings, max_new_tokens=NEW_TOKENS, num_beams=3, house_style="plain")
    with pytest.warns(Notice) as noted:
        model = graphwright.compile(checkpoint_copy, threads=1)
    assert [str(w.message).partition(": ")[2] for w in noted] == [
        "num_beams is 3: one beam is followed, so the text is the greedy or the sampled one",
        "not known, and left out: house_style",
    ]
    expected = generated(eager, settings)
    assert model.generate(PROMPT) == expected != plain
    assert len(expected) == NEW_TOKENS
    free: Any = {"suppress_tokens": [], "bad_words_ids": [], "forced_eos_token_id": []}
    free |= {"no_repeat_ngram_size": 0, "encoder_repetition_penalty": 1, "repetition_penalty": 1}
    assert model.generate(PROMPT, **free) == plain
    # The settings' own limit gives way to the context's end.
    assert len(model.generate(PROMPT, max_context=8)) == 3


def test_a_longest_length_counts_the_prompt(compiled: graphwright.CompiledModel, plain: list[int]) -> None:
    model = graphwright.load(compiled.folder, threads=1)
    model.loaded.settings = read_settings('{"max_length": 9}', "generation_config.json")
    assert model.generate(PROMPT) == plain[:4]
    assert model.generate(PROMPT, max_new_tokens=6) == plain[:6]
    assert model.generate([PROMPT, PROMPT[:3]])[0] == plain[:4]
    with pytest.raises(ContextError, match=r"the prompt has 9 tokens, and the model's settings \(max_length\) allow 9"):
        model.generate([5] * 9)


def test_settings_of_old_checkpoints_stand_in_the_configuration(checkpoint_copy: Path) -> None:
    (checkpoint_copy / "generation_config.json").unlink()
    config = json.loads((checkpoint_copy / "config.json").read_text())
    old = {"bad_words_ids": [[7]], "num_beams": 4, "forced_bos_token_id": None, "task": "translate"}
    inner = {"decoder": {"no_repeat_ngram_size": 3, "num_beams": 2}}
    (checkpoint_copy / "config.json").write_text(json.dumps({**config, **old, **inner}))
    theirs = cast(Any, GenerationConfig)
    original = theirs.from_pretrained(checkpoint_copy, "config.json", _from_model_config=True)
    found = read_generation_settings(resolve(checkpoint_copy), checkpoint_copy)
    assert found is not None
    assert found.text is not None
    settings = json.loads(found.text)
    assert settings == {"bad_words_ids": [[7]], "num_beams": 4, "no_repeat_ngram_size": 3}
    assert settings == {name: getattr(original, name) for name in settings}
    assert [notice.rpartition("/")[2].split(" is ")[0] for notice in found.settings.notices] == [
        "config.json: num_beams"
    ]


def test_settings_of_a_module_go_along(eager: Any, plain: list[int]) -> None:
    module = copy.deepcopy(eager)
    bias = {tuple(plain[:1]): -50.0}
    module.generation_config.sequence_bias = bias
    model = graphwright.compile(module, threads=1)
    expected = generated(eager, {"sequence_bias": bias})
    assert model.generate(PROMPT, max_new_tokens=NEW_TOKENS) == expected != plain


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"guidance_scale": 1.5}, r"generation_config\.json: guidance_scale is 1.5: guidance needs a second pass"),
        ({"no_repeat_ngram_size": -1}, r"generation_config\.json: no_repeat_ngram_size is -1: must be at least 0"),
        ({"do_sample": True, "top_p": 3}, r"generation_config\.json: top_p is 3: must be above 0 and at most 1"),
    ],
)
def test_what_loading_refuses_is_refused_before_the_work(
    checkpoint_copy: Path, settings: dict[str, Any], message: str, tmp_path: Path
) -> None:
    write_settings(checkpoint_copy, **settings)
    stages: list[str] = []
    with pytest.raises(UsageError, match=message) as refusal:
        graphwright.compile(checkpoint_copy, output=tmp_path / "out", on_stage=stages.append)
    assert "\n" not in str(refusal.value)
    assert stages == []
    assert not (tmp_path / "out").exists()


def test_a_function_has_no_settings(checkpoint_copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_settings(checkpoint_copy, guidance_scale=3)

    def prepare(*_: object, generation: object, **__: object) -> None:
        pytest.fail(str(generation))

    monkeypatch.setattr("graphwright.compiling.compiler.prepare", prepare)
    with pytest.raises(pytest.fail.Exception, match="None"):
        build(resolve(checkpoint_copy), tmp_path / "out", Options(kind="function"))
    with pytest.raises(UsageError, match="guidance_scale"):
        build(resolve(checkpoint_copy), tmp_path / "out", Options())


def test_tokens_outside_the_vocabulary_are_refused_before_the_passes(checkpoint_copy: Path) -> None:
    write_settings(checkpoint_copy, suppress_tokens=[64])
    stages: list[str] = []
    message = r"generation_config\.json: suppress_tokens holds the token id 64, outside the vocabulary \(0 to 63\)"
    with pytest.raises(UsageError, match=message):
        graphwright.compile(checkpoint_copy, on_stage=stages.append)
    assert stages == ["capture"]


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"eos_token_ids": (2, 9)}, r"'small': eos_token_id is the token id 9, outside the vocabulary \(0 to 8\)"),
        ({"bos_token_ids": (-1,)}, "'small': bos_token_id is the token id -1, outside the vocabulary"),
        ({"decoder_start_token_id": 9}, "'small': decoder_start_token_id is the token id 9, outside the vocabulary"),
    ],
)
def test_special_tokens_outside_the_vocabulary(facts: dict[str, Any], message: str) -> None:
    program = Program("small")
    program.metadata.update(vocabulary_size=9, eos_token_ids=(8,))
    check_special_tokens(program)
    program.metadata.update(facts)
    with pytest.raises(UsageError, match=message):
        check_special_tokens(program)


def test_padding_outside_the_vocabulary_is_left_out() -> None:
    program = Program("small")
    program.metadata.update(vocabulary_size=9, pad_token_id=-1)
    with pytest.warns(Notice, match="pad_token_id is the token id -1, outside the vocabulary .*; it is left out"):
        check_special_tokens(program)
    assert "pad_token_id" not in program.metadata


def test_a_module_of_ones_own_says_nothing() -> None:
    assert read_generation_settings(resolve(torch.nn.Linear(2, 2)), None) is None
