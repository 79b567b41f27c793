"""How a model of speech, such as Whisper, begins: start, language, task, and that no timestamps are wanted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from graphwright.runtime.errors import GenerationError

_PAIRS = """
afrikaans=af albanian=sq amharic=am arabic=ar armenian=hy assamese=as azerbaijani=az bashkir=ba basque=eu
belarusian=be bengali=bn bosnian=bs breton=br bulgarian=bg burmese=my cantonese=yue castilian=es catalan=ca
chinese=zh croatian=hr czech=cs danish=da dutch=nl english=en estonian=et faroese=fo finnish=fi flemish=nl french=fr
galician=gl georgian=ka german=de greek=el gujarati=gu haitian=ht haitian_creole=ht hausa=ha hawaiian=haw hebrew=he
hindi=hi hungarian=hu icelandic=is indonesian=id italian=it japanese=ja javanese=jw kannada=kn kazakh=kk khmer=km
korean=ko lao=lo latin=la latvian=lv letzeburgesch=lb lingala=ln lithuanian=lt luxembourgish=lb macedonian=mk
malagasy=mg malay=ms malayalam=ml maltese=mt mandarin=zh maori=mi marathi=mr moldavian=ro moldovan=ro mongolian=mn
myanmar=my nepali=ne norwegian=no nynorsk=nn occitan=oc panjabi=pa pashto=ps persian=fa polish=pl portuguese=pt
punjabi=pa pushto=ps romanian=ro russian=ru sanskrit=sa serbian=sr shona=sn sindhi=sd sinhala=si sinhalese=si
slovak=sk slovenian=sl somali=so spanish=es sundanese=su swahili=sw swedish=sv tagalog=tl tajik=tg tamil=ta tatar=tt
telugu=te thai=th tibetan=bo turkish=tr turkmen=tk ukrainian=uk urdu=ur uzbek=uz valencian=ca vietnamese=vi welsh=cy
yiddish=yi yoruba=yo
"""

CODES: dict[str, str] = {name: code for name, _, code in (pair.partition("=") for pair in _PAIRS.split())}
"""By name, with `_` for a space. A language may have several names."""


def language_token(language: str) -> str:
    """The token of a language that is given by name, code or token: `<|de|>` for "German", "de" and "<|de|>"."""
    name = language.strip().lower()
    return name if name.startswith("<|") else f"<|{CODES.get(name.replace(' ', '_'), name)}|>"


TokenId = Annotated[int, Field(ge=0)]

TASKS = ("transcribe", "translate")


@dataclass(frozen=True)
class Beginning:
    """The tokens that a row begins with.

    Where there are `languages`, the second token only holds the place of one, which the model is to tell: it is the
    likeliest of them behind the first token.
    """

    tokens: tuple[int, ...]
    languages: tuple[int, ...] = ()


class SpeechSettings(BaseModel):
    """The fields of `generation_config.json` that only models of speech have; None where the file is silent.

    `forced_decoder_ids` are pairs of a position, from 1 on, and a token, or None for the language to be detected.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    forced_decoder_ids: tuple[tuple[Annotated[int, Field(ge=1)], TokenId | None], ...] | None = None
    is_multilingual: bool | None = None
    lang_to_id: dict[str, TokenId] | None = None
    task_to_id: dict[str, TokenId] | None = None
    no_timestamps_token_id: TokenId | None = None

    @property
    def present(self) -> bool:
        """Whether the file has any of them."""
        return any(value is not None for value in (self.lang_to_id, self.task_to_id, self.no_timestamps_token_id)) or (
            bool(self.forced_decoder_ids)
        )

    def token_ids(self) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The token ids that each field names."""
        yield "forced_decoder_ids", tuple(t for _, t in self.forced_decoder_ids or () if t is not None)
        yield "lang_to_id", tuple((self.lang_to_id or {}).values())
        yield "task_to_id", tuple((self.task_to_id or {}).values())
        yield "no_timestamps_token_id", () if self.no_timestamps_token_id is None else (self.no_timestamps_token_id,)

    def beginning(self, start: int, language: str | None, task: str | None) -> Beginning:
        """As Hugging Face's Whisper begins; `start` is the model's first token. Raises GenerationError.

        A language without a task is transcribed. With neither, the forced tokens hold.
        """
        if self.is_multilingual is False and not (language is None and task is None):
            raise GenerationError("the model knows English alone, so it takes neither language nor task")
        told: list[int | None] = [] if language is None else [self._language(language)]
        if language is None and task is None:
            told = self._forced()
        languages: tuple[int, ...] = ()
        if self.lang_to_id and (not told or told[0] is None):
            languages = tuple(self.lang_to_id.values())
            told[:1] = languages[:1]
        tokens = [start, *(token for token in told if token is not None)]
        if task is not None or (language is not None and self.task_to_id):
            tokens.append(self._task(task or TASKS[0]))
        if self.no_timestamps_token_id is not None and tokens[-1] != self.no_timestamps_token_id:
            tokens.append(self.no_timestamps_token_id)
        return Beginning(tuple(tokens), languages)

    def _forced(self) -> list[int | None]:
        pairs = self.forced_decoder_ids or ()
        if [position for position, _ in pairs] != list(range(1, len(pairs) + 1)):
            raise GenerationError("the positions in forced_decoder_ids must be 1, 2, 3 and so on")
        return [token for _, token in pairs]

    def _language(self, language: str) -> int:
        known = self.lang_to_id or {}
        token = language_token(language)
        if token not in known:
            names = ", ".join(name.strip("<|>") for name in list(known)[:100]) or "none"
            raise GenerationError(f"language is {language!r}; the model knows {names}")
        return known[token]

    def _task(self, task: str) -> int:
        known = self.task_to_id or {}
        if task not in TASKS or task not in known:
            names = " and ".join(name for name in TASKS if name in known) or "none"
            raise GenerationError(f"task is {task!r}; the model knows {names}")
        return known[task]
