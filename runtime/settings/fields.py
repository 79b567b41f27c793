"""Every field of `generation_config.json` (Hugging Face), in one of four lists: honoured, without effect on the text,
noticed where it asks for what is not done, refused where it does.

A test compares the lists with the fields that transformers knows. What is in none of them is noticed by name.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

LIMITS = ("max_length", "max_new_tokens")
SPECIAL_TOKENS = ("bos_token_id", "eos_token_id", "decoder_start_token_id", "pad_token_id")
"""Those that the manifest holds; rows are padded with any token, so the last one is written down alone."""

SPEECH = ("forced_decoder_ids", "is_multilingual", "lang_to_id", "task_to_id", "no_timestamps_token_id")
"""How a model of speech begins; see `speech`."""

SPEECH_OPTIONS = ("language", "task")
"""Options of a generation that models of speech alone have."""

OPTIONS = (
    "bad_words_ids",
    "begin_suppress_tokens",
    "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty",
    "exponential_decay_length_penalty",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "min_length",
    "min_new_tokens",
    "no_repeat_ngram_size",
    "remove_invalid_values",
    "repetition_penalty",
    "sequence_bias",
    "stop_strings",
    "suppress_tokens",
)
"""Options of a generation, by the same names, whether it is greedy or samples."""

SAMPLING_DEFAULTS: Mapping[str, float | None] = {
    "temperature": 1.0,
    "top_k": 50,
    "top_p": 1.0,
    "min_p": None,
    "top_h": None,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
"""Options that hold where the file asks for sampling, with what transformers takes for those it leaves out."""

HONOURED = frozenset((*LIMITS, *SPECIAL_TOKENS, *SPEECH, *SPEECH_OPTIONS, *OPTIONS, *SAMPLING_DEFAULTS, "do_sample"))

_CACHE = "how transformers keeps keys and values"
_BEAMS = "of beam search alone"
_SPECULATION = "of speculation, which leaves the text as it is, or needs a second model"
_RESULTS = "what transformers returns beside the text"
_SPEED = "how transformers compiles and batches"
_THE_FILE = "of the file itself"
_TIMES = "of timestamps and long audio alone"

WITHOUT_EFFECT: Mapping[str, str] = {
    "renormalize_logits": "the choice of a token does not depend on a constant added to all logits",
    **dict.fromkeys(("use_cache", "cache_config", "max_cache_len", "prefill_chunk_size", "low_memory"), _CACHE),
    **dict.fromkeys(("early_stopping", "length_penalty", "diversity_penalty", "num_beam_groups"), _BEAMS),
    **dict.fromkeys(
        (
            "use_mtp",
            "is_assistant",
            "num_assistant_tokens",
            "num_assistant_tokens_schedule",
            "assistant_confidence_threshold",
            "assistant_early_exit",
            "assistant_ensemble_weight",
            "assistant_lookbehind",
            "target_lookbehind",
            "prompt_lookup_num_tokens",
            "max_matching_ngram_size",
            "speculation_type",
        ),
        _SPECULATION,
    ),
    **dict.fromkeys(
        (
            "output_attentions",
            "output_hidden_states",
            "output_logits",
            "output_scores",
            "return_dict_in_generate",
            "return_legacy_cache",
        ),
        _RESULTS,
    ),
    **dict.fromkeys(("compile_config", "disable_compile", "continuous_batching_config"), _SPEED),
    **dict.fromkeys(("_commit_hash", "_from_model_config", "transformers_version"), _THE_FILE),
    **dict.fromkeys(
        (
            "alignment_heads",
            "force_unique_generate_call",
            "max_initial_timestamp_index",
            "median_filter_width",
            "prev_sot_token_id",
            "prompt_condition_type",
        ),
        _TIMES,
    ),
}
"""Fields that are read over, each with the reason."""


@dataclass(frozen=True)
class Departure:
    """A field that asks for something else than what is done, unless its value is one of `neutral`.

    `says` completes the sentence "FIELD is VALUE: …". `idle` tells from all settings where the field has no effect.
    """

    neutral: tuple[Any, ...]
    says: str
    idle: Callable[[Mapping[str, Any]], bool] = lambda settings: False

    def departs(self, name: str, settings: Mapping[str, Any]) -> bool:
        return settings[name] not in self.neutral and not self.idle(settings)


_PLAIN_CACHES = ("dynamic", "dynamic_full", "hybrid", "mamba", "offloaded", "offloaded_hybrid", "offloaded_static")
_FALLBACK = "a transcription that scores badly is kept, not tried again"

NOTICED: Mapping[str, Departure] = {
    "num_beams": Departure((None, 1), "one beam is followed, so the text is the greedy or the sampled one"),
    "num_return_sequences": Departure((None, 1), "one text is returned for each prompt"),
    "max_time": Departure((None,), "time is not limited; in Python `cancel` is asked between tokens"),
    "cache_implementation": Departure(
        (None, *_PLAIN_CACHES, "paged", "sliding_window", "static"),
        "the cache is stored as the model was compiled; quantize it with --quantize, as in w8+kv8",
    ),
    "return_timestamps": Departure((None, False), "text is written without timestamps"),
    "return_token_timestamps": Departure((None, False), "text is written without timestamps"),
    "condition_on_prev_tokens": Departure((None, False), "each piece of audio stands alone"),
    "compression_ratio_threshold": Departure((None,), _FALLBACK),
    "logprob_threshold": Departure((None,), _FALLBACK),
    "no_speech_threshold": Departure((None,), "silence is transcribed as the model does it"),
}
"""Fields that are left out with a notice."""


def _samples_or_takes_the_likeliest(settings: Mapping[str, Any]) -> bool:
    return settings.get("do_sample") is True or settings.get("top_k") in (0, 1)


_SEARCH = "is a search over several beams, which is not done"

REFUSED: Mapping[str, Departure] = {
    "guidance_scale": Departure((None, 1), "guidance needs a second pass without the prompt, which is not done"),
    "token_healing": Departure((None, False), "the end of a prompt is not replaced"),
    "watermarking_config": Departure((None,), "text is not watermarked"),
    "penalty_alpha": Departure((None, 0), "contrastive search is not done", _samples_or_takes_the_likeliest),
    "dola_layers": Departure((None,), "layers are not contrasted with each other"),
    "constraints": Departure((None, []), f"it {_SEARCH}"),
    "force_words_ids": Departure((None, []), f"it {_SEARCH}"),
}
"""Fields without which the text would be another one, and for which there is no near thing to do instead."""


def notices(settings: Mapping[str, Any], place: str, *, speech: bool) -> list[str]:
    """One line for each field of the file at `place` that is left out and should be known of."""
    lines = [
        f"{place}: {name} is {_shown(settings[name])}: {departure.says}"
        for name, departure in NOTICED.items()
        if name in settings and departure.departs(name, settings)
    ]
    known = HONOURED | WITHOUT_EFFECT.keys() | NOTICED.keys() | REFUSED.keys()
    known -= set() if speech else {*SPEECH, *SPEECH_OPTIONS}
    unknown = [name for name, value in settings.items() if name not in known and value not in (None, "", [], {})]
    if unknown:
        lines.append(f"{place}: not known, and left out: {_shown(', '.join(sorted(unknown)), quoted=False)}")
    return lines


def refusal(settings: Mapping[str, Any], place: str) -> str | None:
    """Why the settings cannot be followed, if so."""
    for name, departure in REFUSED.items():
        if name in settings and departure.departs(name, settings):
            return f"{place}: {name} is {_shown(settings[name])}: {departure.says}; remove it to generate without"
    return None


def _shown(value: object, *, quoted: bool = True) -> str:
    text = repr(value) if quoted else cast(str, value)
    return text if len(text) <= 80 else text[:79] + "…"
