"""Train the storyteller: `python -m examples.storyteller.train`. It takes minutes on two cores."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Annotated, Any, cast

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from tokenizers import Tokenizer
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedModel

from examples.storyteller.batches import Batch, batch_of
from examples.storyteller.card import Figures, model_card
from examples.storyteller.quality import judge, share_tellable, tell
from examples.storyteller.scenes import STORIES
from examples.storyteller.tokenizer import BOS, EOS, save_tokenizer, train_tokenizer

HERE = Path(__file__).parent.parent / "models" / "storyteller"
CONTEXT = 512
VOCABULARY = 1536
STORIES_PER_STEP = 16
HELD_OUT = 1000
PEAK_RATE = 3e-3
EMBEDDING_RATE = 1e-3
WARM_UP = 50
TEMPERATURES = (0.8, 1.0)
TOLD = 200


def new_model(tokenizer: Tokenizer) -> LlamaForCausalLM:
    """The untrained model: 4 query heads over 2 key-value heads of size 32, with tied embeddings.

    The inputs of its linear layers are multiples of 128, so weights quantize in groups of 32, 64 or 128 alike.
    """
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=5,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        rms_norm_eps=1e-5,
        initializer_range=0.08,
        # At this length, and under autocast, eager attention takes six tenths of the fused one's time.
        attn_implementation="eager",  # pyright: ignore[reportCallIssue] - taken by all, declared by none
        tie_word_embeddings=True,
        bos_token_id=tokenizer.token_to_id(BOS),
        eos_token_id=tokenizer.token_to_id(EOS),
        pad_token_id=tokenizer.token_to_id(EOS),
    )
    model = LlamaForCausalLM(config)
    # Tied embeddings that start small soon differ only by part of speech, and copying a name from context is learned
    # late: measured, the loss left its plateau at 0.65 after 450 steps; with all weights started at 0.02 and one
    # learning rate for all it was still there after 550.
    embeddings = model.get_input_embeddings()
    assert isinstance(embeddings, torch.nn.Embedding)
    torch.nn.init.normal_(embeddings.weight, std=0.3)
    return model


def rate(step: int, steps: int) -> float:
    """The share of the peak learning rate at a step: a linear warm-up, then a cosine down to nothing."""
    if step < WARM_UP:
        return (step + 1) / WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (step - WARM_UP) / max(steps - WARM_UP, 1)))


def fresh_batches(tokenizer: Tokenizer, steps: int, rng: Random) -> Iterator[Batch]:
    """A batch of new stories for each step. Neighbours in length share one, which spares padding."""
    ahead = 16
    for start in range(0, steps, ahead):
        count = min(ahead, steps - start)
        pool = sorted((STORIES.story(rng) for _ in range(count * STORIES_PER_STEP)), key=len)
        batches = [pool[i * STORIES_PER_STEP : (i + 1) * STORIES_PER_STEP] for i in range(count)]
        rng.shuffle(batches)
        yield from (batch_of(stories, tokenizer) for stories in batches)


def fit(model: PreTrainedModel, batches: Iterator[Batch], steps: int, floor: float, console: Console) -> int:
    """Train the model; returns how many tokens it saw. Products are taken in bfloat16 and kept in float32."""
    embeddings = model.get_input_embeddings().weight
    matrices = [p for p in model.parameters() if p.ndim > 1 and p is not embeddings]
    scales = [p for p in model.parameters() if p.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": scales, "weight_decay": 0.0},
        {"params": [embeddings], "weight_decay": 0.0, "lr": EMBEDDING_RATE},
    ]
    # torch leaves the signature of `step` partly untyped.
    optimizer = cast(Any, torch.optim.AdamW(groups, lr=PEAK_RATE, betas=(0.9, 0.95), fused=True))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: rate(step, steps))
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.fields[state]}"), TimeRemainingColumn())
    seen = 0
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=steps, state="")
        for step, batch in enumerate(batches, start=1):
            with torch.autocast("cpu", torch.bfloat16):
                loss = model(**batch._asdict(), use_cache=False).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            seen += int(batch.attention_mask.sum())
            state = f"step {step}: {loss.item():.4f} nats a token, floor {floor:.4f}"
            progress.update(task, advance=1, state=state)
            if step % 100 == 0:
                progress.console.print(state)
    return seen


def main(
    steps: Annotated[int, typer.Option(help=f"Steps of {STORIES_PER_STEP} stories.", min=1)] = 4500,
    seed: Annotated[int, typer.Option(help="Seed of the weights and of the stories.")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads.", min=1)] = 2,
    out: Annotated[Path, typer.Option(help="Where the model is saved.", file_okay=False)] = HERE,
) -> None:
    """Train a small Llama on stories of the grammar and save it as a Hugging Face directory with its model card."""
    console = Console()
    torch.set_num_threads(threads)
    torch.default_generator.manual_seed(seed)
    started = time.monotonic()
    tokenizer = train_tokenizer(STORIES.stories(10_000, seed + 1), VOCABULARY)
    tokens_per_story = STORIES.expected_length(lambda word: len(tokenizer.encode(word, add_special_tokens=False))) + 1
    model = new_model(tokenizer)
    console.print(
        f"{model.num_parameters():,} parameters, {tokenizer.get_vocab_size()} tokens, {tokens_per_story:.1f} a story"
    )
    floor = STORIES.entropy() / tokens_per_story
    seen = fit(model.train(), fresh_batches(tokenizer, steps, Random(seed)), steps, floor, console)
    minutes = (time.monotonic() - started) / 60
    save(model.eval(), tokenizer, out)

    saved = cast(Any, LlamaForCausalLM).from_pretrained(out, dtype=torch.float32)
    stories = STORIES.stories(HELD_OUT, seed + 2)
    figures = Figures(
        parameters=saved.num_parameters(),
        vocabulary=tokenizer.get_vocab_size(),
        tokens_seen=seen,
        minutes=minutes,
        threads=threads,
        steps=steps,
        seed=seed,
        entropy=STORIES.entropy(),
        tokens_per_story=tokens_per_story,
        held_out=HELD_OUT,
        verdict=judge(saved, tokenizer, STORIES, stories),
        told=TOLD,
        tellable={t: share_tellable(STORIES, tell(saved, tokenizer, TOLD, temperature=t)) for t in TEMPERATURES},
        sample=tell(saved, tokenizer, 1, prompt="Once", temperature=TEMPERATURES[0])[0],
    )
    (out / "README.md").write_text(model_card(figures), encoding="utf-8")
    console.print(figures)


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Write the weights, the tokenizer and the settings of generation."""
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.token_to_id(BOS),
        eos_token_id=tokenizer.token_to_id(EOS),
        pad_token_id=tokenizer.token_to_id(EOS),
        do_sample=True,
        temperature=TEMPERATURES[0],
        max_new_tokens=250,
    )
    cast(Any, model).save_pretrained(out)
    save_tokenizer(tokenizer, out, CONTEXT)


if __name__ == "__main__":
    typer.run(main)
