"""Small tokenizers of the two kinds that language models use, as the text of `tokenizer.json`."""

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

SPECIAL = ("<unk>", "<s>", "</s>")


def byte_level() -> str:
    """GPT-2's kind: every token is a string of bytes, shown as printable characters. 256 bytes, a few merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "w"), ("Ġw", "o"), ("â", "Ĥ"), ("Ġ", "Ġ")]
    return _finish(alphabet, merges, byte_fallback=False)


def byte_fallback() -> str:
    """Llama's kind: characters, and `<0xHH>` tokens for the bytes of all others; decoding strips a leading space."""
    pieces = [*(f"<0x{byte:02X}>" for byte in range(256)), "▁", *"abcdefghijklmnopqrstuvwxyzé.,"]
    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("▁", "hello"), ("▁", "▁"), ("▁", "w")]
    return _finish(pieces, merges, byte_fallback=True)


def _finish(pieces: list[str], merges: list[tuple[str, str]], *, byte_fallback: bool) -> str:
    tokens = [*SPECIAL, *pieces, *("".join(merge) for merge in merges)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    model = models.BPE(vocab=vocabulary, merges=merges, byte_fallback=byte_fallback, unk_token="<unk>")
    tokenizer = Tokenizer(model)
    if byte_fallback:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True) for token in SPECIAL]
    tokenizer.add_special_tokens(special)  # pyright: ignore[reportUnknownMemberType] - partly untyped
    return tokenizer.to_str()


def size(text: str) -> int:
    """How many tokens the tokenizer `text` knows."""
    return Tokenizer.from_str(text).get_vocab_size()
