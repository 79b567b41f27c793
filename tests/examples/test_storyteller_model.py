"""The bundled model: its folder, how near its loss comes to the grammar's, and that its stories are sound."""

import json
import math
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedModel

from examples.storyteller import STORIES
from examples.storyteller.quality import judge, share_tellable, tell
from tests import pretrained
from tests.pretrained import language_model
from tests.tensors import load_file

FOLDER = Path(__file__).parents[2] / "examples" / "models" / "storyteller"


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return language_model(FOLDER, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def test_the_folder_is_complete_and_small():
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.name for path in FOLDER.iterdir()} == names | {"README.md"}
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8_000_000


def test_the_shape_is_that_of_a_small_llama_with_grouped_queries():
    config = json.loads((FOLDER / "config.json").read_text())
    assert config["model_type"] == "llama"
    assert config["head_dim"] in (32, 64)
    assert 1 < config["num_key_value_heads"] < config["num_attention_heads"]
    parameters = sum(weight.numel() for weight in load_file(FOLDER / "model.safetensors").values())
    assert 1_000_000 <= parameters <= 3_000_000


def test_the_tokenizer_is_one_for_transformers_too(tokenizer: Tokenizer):
    theirs = pretrained.tokenizer(FOLDER)
    for text in (*STORIES.stories(20, seed=3), "Unknown words: naïve 狐 🦔\n"):
        assert theirs(text).input_ids == tokenizer.encode(text).ids
        assert tokenizer.decode(tokenizer.encode(text).ids) == text
    assert (theirs.bos_token, theirs.eos_token) == ("<s>", "</s>")


def test_token_counts_add_up_over_the_words_of_a_story(tokenizer: Tokenizer):
    for story in STORIES.stories(50, seed=4):
        first, *others = story.split(" ")
        words = [first, *(f" {word}" for word in others)]
        apart = sum(len(tokenizer.encode(word, add_special_tokens=False)) for word in words)
        assert apart == len(tokenizer.encode(story, add_special_tokens=False))


def test_the_loss_on_held_out_stories_is_near_the_floor(model: PreTrainedModel, tokenizer: Tokenizer):
    verdict = judge(model, tokenizer, STORIES, STORIES.stories(200, seed=11))
    assert 0 < verdict.excess < 0.04


@pytest.mark.parametrize("prompt", ["", "Once", "Far away,", "Pip", "Zoë was a grumpy", "Have you heard of Ada"])
def test_greedy_stories_are_made_of_the_grammars_words(model: PreTrainedModel, tokenizer: Tokenizer, prompt: str):
    (story,) = tell(model, tokenizer, 1, prompt=prompt, temperature=None)
    assert story.startswith(prompt)
    assert story.endswith((".", "!", '"'))
    known = {word for told in STORIES.stories(3000, seed=12) for word in told.split()}
    assert set(story.removeprefix(prompt).split()[1:]) <= known, story


def test_sampled_stories_are_sound_and_varied(model: PreTrainedModel, tokenizer: Tokenizer):
    stories = tell(model, tokenizer, 40, temperature=0.8)
    assert len(set(stories)) == len(stories)
    # the model card's share of 200 stories, less three standard errors of 40
    assert share_tellable(STORIES, stories) >= 0.83 - 3 * math.sqrt(0.83 * 0.17 / 40)
