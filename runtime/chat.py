"""Chat messages to a prompt, through the model's own Jinja template, as Hugging Face transformers renders it.

A template is code from a stranger: it runs in Jinja's immutable sandbox, and within a budget of time and size.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from jinja2 import Template, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from pydantic import BaseModel, ConfigDict, ValidationError

from graphwright.runtime.artifact import Artifact
from graphwright.runtime.errors import ArtifactError, ChatTemplateError
from graphwright.runtime.files import TABLES, read_text
from graphwright.runtime.template_budget import BudgetError, rendering_budget
from graphwright.runtime.template_sandbox import BudgetedSandbox
from graphwright.runtime.validation import first_finding

Message = Mapping[str, Any]

_TEMPLATE_FILE = "chat_template.jinja"
_CONFIG_FILE = "tokenizer_config.json"


class _AddedToken(BaseModel):
    model_config = ConfigDict(extra="ignore")
    content: str


class _NamedTemplate(BaseModel):
    model_config = ConfigDict(extra="ignore")
    name: str
    template: str


class _TokenizerConfig(BaseModel):
    model_config = ConfigDict(extra="allow")
    chat_template: str | list[_NamedTemplate] | None = None
    extra_special_tokens: dict[str, str | _AddedToken] | list[Any] | None = None

    def special_tokens(self) -> dict[str, str]:
        """All that have a name, by it: `bos_token` and its like, and those of one model, such as `image_token`."""
        found: dict[str, str] = {}
        named = self.extra_special_tokens if isinstance(self.extra_special_tokens, dict) else {}
        for name, token in {**(self.model_extra or {}), **named}.items():
            if name.endswith("_token") or name in named:
                content = token.content if isinstance(token, _AddedToken) else token
                content = cast("dict[str, Any]", content).get("content") if isinstance(content, dict) else content
                if isinstance(content, str):
                    found[name] = content
        return found


class ChatTemplate:
    """A model's chat template: one source, or several under names (`default`, `tool_use`).

    Raises ChatTemplateError when a template is not valid Jinja.
    """

    def __init__(self, sources: Mapping[str, str], special_tokens: Mapping[str, str], place: str) -> None:
        environment = _environment()
        self._special_tokens = special_tokens
        self._place = place
        self._templates = {name: _compile(environment, source, place) for name, source in sources.items()}

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> "ChatTemplate | None":
        """The artifact's template, of its own file or of the tokenizer's configuration; None when it has none."""
        place = str(artifact.folder)
        return cls._from_files(lambda name: artifact.read_text(name) if artifact.has(name) else None, place)

    @classmethod
    def from_folder(cls, folder: Path, place: str) -> "ChatTemplate | None":
        """The template that an artifact with the files of `folder` would have; errors name `place`.

        Raises ArtifactError where one of them cannot be read.
        """

        def read(name: str) -> str | None:
            try:
                return read_text(folder / name, TABLES) if (folder / name).is_file() else None
            except (OSError, UnicodeDecodeError) as problem:
                raise ArtifactError(f"{place}/{name} cannot be read: {problem}") from None

        return cls._from_files(read, place)

    @classmethod
    def _from_files(cls, read: Callable[[str], str | None], place: str) -> "ChatTemplate | None":
        config = _read_config(read(_CONFIG_FILE), place)
        sources: dict[str, str] = {}
        if isinstance(config.chat_template, str):
            sources = {"default": config.chat_template}
        elif config.chat_template is not None:
            sources = {named.name: named.template for named in config.chat_template}
        file = _CONFIG_FILE
        if (template := read(_TEMPLATE_FILE)) is not None:
            sources, file = {"default": template}, _TEMPLATE_FILE
        return cls(sources, config.special_tokens(), f"{place}/{file}") if sources else None

    def render(
        self,
        messages: Sequence[Message],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt for `messages`, ready for the model's answer.

        `messages` are mappings with `role` and `content`; `tools` are JSON schemas; `variables` are what this template
        knows besides, such as `enable_thinking`. Raises ChatTemplateError when the template refuses them.
        """
        name = "tool_use" if tools and "tool_use" in self._templates else "default"
        if name not in self._templates:
            names = ", ".join(sorted(self._templates))
            raise ChatTemplateError(f"{self._place}: there is no template named 'default' (only {names})")
        try:
            context: dict[str, Any] = {
                **self._special_tokens,
                "messages": [_message(message) for message in messages],
                "tools": [_plain(tool) for tool in tools] if tools else None,
                "documents": None,
                "add_generation_prompt": True,
                **{key: _plain(value) for key, value in (variables or {}).items()},
            }
            with rendering_budget() as budget:
                return budget.made("".join(self._templates[name].generate(context)))
        except BudgetError as error:
            problem = f"the chat template is refused: {_short(error)}"
        except TemplateError as error:
            problem = f"the chat template refused the messages: {_short(error)}"
        except RecursionError:
            problem = "the chat template failed on these messages: it, or they, are nested too deeply"
        except Exception as error:
            # A template's expressions may raise anything on messages of an unexpected form.
            problem = f"the chat template failed on these messages: {_short(error)}"
        raise ChatTemplateError(f"{self._place}: {problem}")


def _compile(environment: BudgetedSandbox, source: str, place: str) -> Template:
    try:
        return environment.compile_template(source)
    except RecursionError:
        problem = "it is nested too deeply"
    except Exception as error:
        # What is valid for Jinja may still be too much for Python's compiler, which has errors of its own.
        problem = _short(error)
    raise ChatTemplateError(f"{place}: the chat template is not valid: {problem}")


def _short(error: Exception) -> str:
    """An error's text, which a template may have made as long as it likes."""
    text = str(error) or type(error).__name__
    return text if len(text) <= 300 else f"{text[:300]}…"


def _message(message: Message) -> dict[str, Any]:
    """As a template sees it: what is None is absent, and the reasoning has each of the names that templates know."""
    plain = {key: value for key, value in _plain(message).items() if value is not None}
    reasoning = next((plain[key] for key in ("reasoning_content", "thinking", "reasoning") if key in plain), None)
    return plain if reasoning is None else {"thinking": reasoning, **plain, "reasoning_content": reasoning}


def _plain(value: Any) -> Any:
    """A copy of JSON's types alone: other objects have methods that the sandbox does not know."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        items = [_plain(item) for item in cast("Sequence[Any]", value)]
        return items if isinstance(value, list) else tuple(items)
    # Of a type derived from one of these, such as an enum's member, what it is derived from.
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    raise TypeError(f"a message holds a {type(value).__name__}; give texts, numbers, lists and mappings")


def _read_config(text: str | None, place: str) -> _TokenizerConfig:
    if text is None:
        return _TokenizerConfig()
    try:
        return _TokenizerConfig.model_validate_json(text)
    except ValidationError as error:
        raise ArtifactError(f"{place}/{_CONFIG_FILE}: {first_finding(error)}") from None


def _environment() -> BudgetedSandbox:
    environment = BudgetedSandbox(trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols])
    environment.add_filter("tojson", _to_json)
    functions: dict[str, Any] = {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
    environment.globals.update(functions)
    return environment


class _GenerationBlock(Extension):
    """`{% generation %}…{% endgeneration %}` marks the assistant's text for training; here its body just renders."""

    tags = {"generation"}  # noqa: RUF012  (declared so by Jinja)

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller: Callable[[], str]) -> str:
        return caller()


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    # Jinja's own filter escapes HTML, which a model was not trained on.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> str:
    raise TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.now().strftime(form)
