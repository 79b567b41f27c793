"""The names of schemes: `w4a16-g128`, `w4a8-g32-gptq`, `w8a8-smoothquant`, `w4a8-g128+kv8`, `w4a16-g128+head=w8`."""

import difflib
import re
from dataclasses import replace

from graphwright.ir import PassError
from graphwright.passes.quantization.scheme import FOLDS, ROUNDINGS, CacheFormat, Fold, Format, Scheme
from graphwright.passes.quantization.scheme_suggestions import suggested_scheme

KNOWN = (
    *("w8a8-smoothquant", "kv16", "kv8", "kv4", "kv8-tensor", "kv4-kivi", "mixed", "fp8", "mxfp4", "nvfp4"),
    *(
        f"w{bits}{activations}{group}{method}"
        for bits in (4, 8, 3, 2)
        for activations in ("", "a16", "a8")
        for group in ("", "-g128", "-g64", "-g32", "-asym", "-sym", "-min", "-channel")
        for method in ("", "-gptq", "-awq", "-awq-gptq", "-rtn", "-rotate")
    ),
)
"""Names to suggest for one that does not exist."""
GRAMMAR = (
    "a scheme is w4a16-g128, w4a8-g32, w8, w8a8, fp8, mxfp4, nvfp4, kv16, kv8 or kv4 and the like, joined by +; "
    "weights may end in -asym, -sym or -min and methods (-rtn, -mse, -gptq, -awq, -smoothquant, -rotate); head= and "
    "embedding= have their own"
)
GROUPS = (16, 32, 64, 128, 256)
OFFSETS = ("asym", "sym", "min")
DEFAULT_GROUP = 128
"""Inputs that share a scale. Weights in 8 bits have zero points too, which cost less than a percent; beside
activations in int8 (w8a8) they have one scale a row and none, as integer products want them."""

_WEIGHTS = re.compile(r"w([2348])(?:a(8|16))?")
_FLOATS = {
    "fp8": Format("f8e4m3", 0),
    "mxfp4": Format("f4e2m1", 32, "f8e8m0"),
    "nvfp4": Format("f4e2m1", 16, "f8e4m3"),
}
_CACHES = {
    "kv16": CacheFormat(16),
    "kv8": CacheFormat(8),
    "kv8-tensor": CacheFormat(8, "tensor", "tensor"),
    "kv8-kivi": CacheFormat(8, "channel", "token"),
    "kv4": CacheFormat(4),
    "kv4-tensor": CacheFormat(4, "tensor", "tensor"),
    "kv4-kivi": CacheFormat(4, "channel", "token"),
}
_PLACES = ("head", "embedding")


def parse_scheme(text: str) -> Scheme:
    """The scheme of that name: parts joined by `+` or `,`, at most one each of weights, cache, head and embedding.

    Where nothing else is said, the head is stored as the body is, and the embedding as the head is if both are one
    weight; otherwise the embedding is left. Raises `PassError` with the nearest name and the grammar.
    """
    parts = [part.strip().lower() for part in re.split(r"[+,]", text)]
    chosen: dict[str, str] = {}
    for part in parts:
        kind = _kind(part, text)
        if kind in chosen:
            raise PassError(f"scheme '{text}' says twice what {_MEANT[kind]}: '{chosen[kind]}' and '{part}'")
        chosen[kind] = part
    mixed = chosen.get("weights") == "mixed"
    body, folds = (None, ()) if mixed or "weights" not in chosen else _weights(chosen["weights"], text)
    head = _own(chosen, "head", text) if "head" in chosen else body
    embedding = _own(chosen, "embedding", text) if "embedding" in chosen else None
    cache = _CACHES[chosen["cache"]] if "cache" in chosen else None
    tied = "embedding" not in chosen and head is not None
    return Scheme("+".join(parts), body, head, embedding, tied, folds, cache, mixed)


_MEANT = {
    "weights": "weights become",
    "cache": "the cache becomes",
    "head": "the head becomes",
    "embedding": "the embedding becomes",
}


def _kind(part: str, text: str) -> str:
    place, equals, _ = part.partition("=")
    if equals:
        if place not in _PLACES:
            raise PassError(f"scheme '{text}' has nothing called '{place}': write head=… or embedding=…")
        return place
    if part in _CACHES:
        return "cache"
    first = part.partition("-")[0]
    if part == "mixed" or first in _FLOATS or _WEIGHTS.fullmatch(first):
        return "weights"
    raise _unknown(part, text)


def _unknown(part: str, text: str) -> PassError:
    meant = suggested_scheme(part)
    if meant is not None:
        return PassError(meant)
    near = difflib.get_close_matches(part, KNOWN, 1, cutoff=0.6)
    hint = f": did you mean '{near[0]}'?" if near else ""
    where = f" in '{text}'" if part != text else ""
    return PassError(f"there is no scheme '{part}'{where}{hint} ({GRAMMAR})")


def _own(chosen: dict[str, str], place: str, text: str) -> Format | None:
    """The format of the head or of the embedding, which no fold prepares."""
    name = chosen[place].partition("=")[2]
    if name == "none":
        return None
    first = name.partition("-")[0]
    if first not in _FLOATS and not _WEIGHTS.fullmatch(first):
        raise _unknown(name, text)
    each, folds = _weights(name, text)
    if folds:
        raise PassError(f"scheme '{text}': -{folds[0]} prepares the body's weights; leave it out of {chosen[place]}")
    if place == "embedding" and each.activations:
        raise PassError(f"scheme '{text}': an embedding multiplies no activations; write embedding={name[:2]}")
    if place == "embedding" and each.rounding == "gptq":
        raise PassError(f"scheme '{text}': GPTQ weighs errors by what a product reads, and an embedding is none")
    return each


def _weights(part: str, text: str) -> tuple[Format, tuple[Fold, ...]]:
    first, *rest = part.split("-")
    numbers = _WEIGHTS.fullmatch(first)
    each = _FLOATS[first] if numbers is None else _integers(int(numbers[1]), numbers[2] == "8")
    roundings = [word for word in rest if word in ROUNDINGS]
    folds: tuple[Fold, ...] = tuple(fold for fold in FOLDS if fold in rest)
    for word in rest:
        if rest.count(word) > 1:
            raise PassError(f"scheme '{text}' says '{word}' twice")
        each = _with(each, word, numbers is not None, part, text)
    offsets = [word for word in rest if word in OFFSETS]
    if len(offsets) > 1:
        raise PassError(f"scheme '{text}': weights are {' or '.join(offsets)}, not both")
    if len(roundings) > 1:
        raise PassError(f"scheme '{text}': codes are chosen by {' or by '.join(roundings)}, not both")
    if "awq" in folds and "smoothquant" in folds:
        raise PassError(f"scheme '{text}': AWQ and SmoothQuant scale the same inputs; choose one")
    if "smoothquant" in folds and not each.activations:
        raise PassError(f"scheme '{text}': SmoothQuant prepares activations in int8, as in w8a8-smoothquant")
    return each, folds


def _integers(bits: int, in_bytes: bool) -> Format:
    if bits == 8 and not in_bytes:
        return Format("u8", DEFAULT_GROUP)
    return Format(f"i{bits}", 0 if bits == 8 else DEFAULT_GROUP, activations="i8" if in_bytes else "")


def _with(each: Format, word: str, integers: bool, part: str, text: str) -> Format:
    """The format with what one word of its name says."""
    if word in ROUNDINGS:
        return replace(each, rounding=word)
    if word in FOLDS:
        return each
    if integers and word in OFFSETS:
        code = "i" if word == "sym" else "u"
        return replace(each, to=f"{code}{each.to[1:]}", minimum=word == "min")
    if integers and word == "channel":
        return replace(each, group=0)
    if integers and re.fullmatch(r"g[0-9]+", word):
        if int(word[1:]) not in GROUPS:
            raise PassError(f"scheme '{text}': groups have {', '.join(map(str, GROUPS))} inputs, not {word[1:]}")
        return replace(each, group=int(word[1:]))
    if not integers and (word in (*OFFSETS, "channel") or re.fullmatch(r"g[0-9]+", word)):
        raise PassError(f"scheme '{text}': {part.partition('-')[0]} has its own groups and scales; leave out -{word}")
    raise _unknown(part, text)
