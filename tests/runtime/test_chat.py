"""Chat templates: rendered as Hugging Face does, in a sandbox, with errors in one line."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from graphwright.runtime import ArtifactError, ChatTemplateError, open_artifact
from graphwright.runtime.chat import ChatTemplate
from tests.runtime.program import TinyDecoder, write_artifact

MESSAGES = [{"role": "user", "content": "Hi <b>"}, {"role": "assistant", "content": "Yes"}]


def render(source: str, messages: list[dict[str, Any]] = MESSAGES, **options: Any) -> str:
    return ChatTemplate({"default": source}, {"bos_token": "<s>", "eos_token": "</s>"}, "t").render(messages, **options)


def test_messages_special_tokens_and_generation_prompt() -> None:
    source = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m['content'] }}{{ eos_token }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    assert render(source) == "<s>[user] Hi <b></s>[assistant] Yes</s>[assistant]"


def test_blocks_are_trimmed() -> None:
    assert render("{% for m in messages %}\n    {% if true %}\n{{ m.role }}\n    {% endif %}\n{% endfor %}\n") == (
        "user\nassistant\n"
    )


def test_json_is_not_escaped_for_html() -> None:
    assert render("{{ messages[0] | tojson }}") == '{"role": "user", "content": "Hi <b>"}'
    assert render("{{ 'é' | tojson }} {{ [1] | tojson(indent=1) }}") == '"é" [\n 1\n]'


def test_the_date() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", render("{{ strftime_now('%Y-%m-%d') }}"))


def test_loop_controls_and_generation_blocks() -> None:
    source = "{% for m in messages %}{% generation %}{{ m.role }}{% endgeneration %}{% break %}{% endfor %}"
    assert render(source) == "user"


def test_tools_and_variables() -> None:
    source = "{% if tools %}{{ tools[0].name }}{% endif %}{{ enable_thinking | default('unset') }}"
    assert render(source) == "unset"
    assert render(source, tools=[{"name": "clock"}], variables={"enable_thinking": False}) == "clockFalse"


def test_named_templates() -> None:
    template = ChatTemplate({"default": "plain", "tool_use": "with tools"}, {}, "t")
    assert template.render(MESSAGES) == "plain"
    assert template.render(MESSAGES, tools=[{"name": "clock"}]) == "with tools"
    with pytest.raises(ChatTemplateError, match=r"no template named 'default' \(only rag\)"):
        ChatTemplate({"rag": ""}, {}, "t").render(MESSAGES)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "refused the messages: roles must alternate"),
        ("{{ messages[0].nothing.more }}", "refused the messages: .* has no attribute 'nothing'"),
        ("{{ messages + 1 }}", "failed on these messages: can only concatenate"),
        ("{{ 1 / 0 }}", "failed on these messages: division by zero"),
        ("{{ messages.append(1) }}", "refused the messages: .*unsafe"),
        ("{{ ''.__class__.__mro__ }}", "refused the messages: .*unsafe"),
        ("{{ cycler.__init__.__globals__ }}", "refused the messages: .*unsafe"),
        ("{% for i in range(10 ** 9) %}{% endfor %}", "failed on these messages: Range too big"),
    ],
)
def test_refusals(source: str, message: str) -> None:
    with pytest.raises(ChatTemplateError, match=message) as caught:
        render(source)
    assert "\n" not in str(caught.value)


def test_a_template_that_is_no_jinja() -> None:
    with pytest.raises(ChatTemplateError, match="the chat template is not valid"):
        render("{% for %}")


def test_no_template_reaches_files() -> None:
    with pytest.raises(ChatTemplateError, match="no loader for this environment"):
        render("{% include '/etc/passwd' %}")


def from_files(folder: Path, files: dict[str, str]) -> ChatTemplate | None:
    return ChatTemplate.from_artifact(open_artifact(write_artifact(folder, TinyDecoder(), files=files)))


def test_where_the_template_comes_from(tmp_path: Path) -> None:
    config = {"bos_token": {"content": "<B>", "lstrip": False}, "eos_token": "<E>", "chat_template": "{{ bos_token }}"}
    both = {"tokenizer_config.json": json.dumps(config), "chat_template.jinja": "{{ eos_token }}"}
    assert from_files(tmp_path / "none", {}) is None
    template = from_files(tmp_path / "config", {"tokenizer_config.json": json.dumps(config)})
    assert template is not None
    assert template.render([]) == "<B>"
    template = from_files(tmp_path / "both", both)
    assert template is not None
    assert template.render([]) == "<E>"
    config["chat_template"] = [{"name": "default", "template": "listed"}]  # type: ignore[assignment]  # JSON is loose
    template = from_files(tmp_path / "list", {"tokenizer_config.json": json.dumps(config)})
    assert template is not None
    assert template.render([]) == "listed"


def test_a_configuration_that_breaks_the_rules(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"tokenizer_config\.json: chat_template"):
        from_files(tmp_path / "bad", {"tokenizer_config.json": '{"chat_template": 5}'})
