"""Chat messages to a prompt, through the model's own Jinja template, as Hugging Face transformers renders it.

A template is code from a stranger: it runs in Jinja's immutable sandbox.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from jinja2 import Environment, TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from pydantic import BaseModel, ConfigDict, ValidationError

from graphwright.runtime.artifact import Artifact
from graphwright.runtime.errors import ArtifactError, ChatTemplateError
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
    model_config = ConfigDict(extra="ignore")
    bos_token: str | _AddedToken | None = None
    eos_token: str | _AddedToken | None = None
    unk_token: str | _AddedToken | None = None
    sep_token: str | _AddedToken | None = None
    pad_token: str | _AddedToken | None = None
    cls_token: str | _AddedToken | None = None
    mask_token: str | _AddedToken | None = None
    chat_template: str | list[_NamedTemplate] | None = None

    def special_tokens(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"):
            token: str | _AddedToken | None = getattr(self, name)
            if token is not None:
                found[name] = token if isinstance(token, str) else token.content
        return found


class ChatTemplate:
    """A model's chat template: one source, or several under names (`default`, `tool_use`).

    Raises ChatTemplateError when a template is not valid Jinja.
    """

    def __init__(self, sources: Mapping[str, str], special_tokens: Mapping[str, str], place: str) -> None:
        environment = _environment()
        self._special_tokens = special_tokens
        self._place = place
        try:
            self._templates = {name: environment.from_string(source) for name, source in sources.items()}
        except TemplateSyntaxError as error:
            raise ChatTemplateError(f"{place}: the chat template is not valid: {error}") from None

    @classmethod
    def from_artifact(cls, artifact: Artifact) -> "ChatTemplate | None":
        """The artifact's template, of its own file or of the tokenizer's configuration; None when it has none."""
        config = _read_config(artifact)
        sources: dict[str, str] = {}
        if isinstance(config.chat_template, str):
            sources = {"default": config.chat_template}
        elif config.chat_template is not None:
            sources = {named.name: named.template for named in config.chat_template}
        place = _CONFIG_FILE
        if artifact.has(_TEMPLATE_FILE):
            sources, place = {"default": artifact.read_text(_TEMPLATE_FILE)}, _TEMPLATE_FILE
        if not sources:
            return None
        return cls(sources, config.special_tokens(), f"{artifact.folder}/{place}")

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
        context: dict[str, Any] = {
            **self._special_tokens,
            "messages": [dict(message) for message in messages],
            "tools": [dict(tool) for tool in tools] if tools else None,
            "documents": None,
            "add_generation_prompt": True,
            **(variables or {}),
        }
        try:
            return self._templates[name].render(context)
        except TemplateError as error:
            raise ChatTemplateError(f"{self._place}: the chat template refused the messages: {error}") from None
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
            # What a template's expressions raise on messages of an unexpected form.
            raise ChatTemplateError(f"{self._place}: the chat template failed on these messages: {error}") from None


def _read_config(artifact: Artifact) -> _TokenizerConfig:
    if not artifact.has(_CONFIG_FILE):
        return _TokenizerConfig()
    try:
        return _TokenizerConfig.model_validate_json(artifact.read_text(_CONFIG_FILE))
    except ValidationError as error:
        raise ArtifactError(f"{artifact.folder}/{_CONFIG_FILE}: {first_finding(error)}") from None


def _environment() -> Environment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationBlock, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
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
