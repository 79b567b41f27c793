"""A chat template that would run for years or fill the memory is refused in a line; what chats need is not."""

import time
from contextlib import suppress
from typing import Any

import pytest

from graphwright.runtime import ChatTemplateError, template_budget, template_sandbox
from graphwright.runtime.chat import ChatTemplate

MESSAGES = [{"role": "user", "content": "Hi"}]
SECONDS = 0.2


def render(source: str, messages: list[dict[str, Any]] = MESSAGES) -> str:
    return ChatTemplate({"default": source}, {}, "t").render(messages)


def doubling(step: str, start: str = "'a'", end: str = "") -> str:
    return f"{{% set n = namespace(x={start}) %}}{{% for i in range(100) %}}{{% set n.x = {step} %}}{{% endfor %}}{end}"


BIG = "{% set x = 'a' * 4000000 %}"
TOO_LONG = {
    "loops": "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
    "a filtered loop": "{% for a in range(100000) if range(100000) | list %}{% endfor %}",
    "a macro that calls itself twice": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}"
    ),
    "calls without output": (
        "{% macro f(n) %}{% if n and f(n - 1) and f(n - 1) %}{% endif %}1{% endmacro %}{{ f(60) }}"
    ),
    "filters of filters": "{% for a in range(100000) %}{{ range(100000) | map('string') | list | length }}{% endfor %}",
    "tests that choose nothing": (
        "{% set x = range(100000) | map('string') | list %}{{ range(100000) | select('in', x) | list | length }}"
    ),
    "growing nesting": "{% set n = namespace(x=[]) %}{% for i in range(100000) %}{% set n.x = [n.x] %}{% endfor %}",
}
TOO_LARGE = {
    "text times number": "{{ ('a' * 10 ** 10) | length }}",
    "number times text": "{{ (10 ** 10 * 'a') | length }}",
    "list times number": "{{ ([1] * 10 ** 9) | length }}",
    "text doubled by +": doubling("n.x + n.x"),
    "text doubled by ~": doubling("n.x ~ n.x"),
    "list doubled by +": doubling("n.x + n.x", "[1]"),
    "set blocks": "{% set x = 'ab' %}" + "{% set x %}{{ x }}{{ x }}{% endset %}" * 60,
    "macros": "{% macro m() %}{{ caller() }}{{ caller() }}{% endmacro %}"
    + "{% call m() %}" * 15
    + "x" * 1000
    + "{% endcall %}" * 15,
    "output in a loop": "{% for a in range(100000) %}" + "x" * 10000 + "{% endfor %}",
    "lists in lists": doubling("[n.x, n.x]", "[1]"),
    "tuples in tuples": doubling("(n.x, n.x)", "(1,)"),
    "dicts in dicts": doubling("{'a': n.x, 'b': n.x}", "{}"),
    "dict()": doubling("dict(a=n.x, b=n.x)", "{}"),
    "slices kept": BIG + doubling("n.x + [x[1:]]", "[]"),
    "center": "{{ 'a' | center(10000000000) }}",
    "center by name": "{{ 'a' | center(width=10000000000) }}",
    "str.center": "{{ 'a'.center(10000000000) }}",
    "str.ljust": "{{ 'a'.ljust(10000000000) }}",
    "str.zfill": "{{ 'a'.zfill(10000000000) }}",
    "str.expandtabs": "{{ ('\\t' * 4000000).expandtabs(1000000) | length }}",
    "str.translate": BIG + "{{ x.translate({97: x}) | length }}",
    "str.replace": BIG + "{{ x.replace('a', x) | length }}",
    "str.replace of nothing": BIG + "{{ x.replace('', x) | length }}",
    "str.join": BIG + "{{ x.join(x) | length }}",
    "bytes.replace": BIG + "{{ x.encode().replace('a'.encode(), x.encode()) | length }}",
    "int.to_bytes": "{{ (5).to_bytes(10000000000, 'big') | length }}",
    "replace": BIG + "{{ x | replace('a', x) | length }}",
    "replace by name": BIG + "{{ x | replace(new=x, old='a') | length }}",
    "join": BIG + "{{ range(100000) | join(x) | length }}",
    "indent": "{{ ('\\n' * 4000000) | indent('x' * 4000) | length }}",
    "tojson": "{{ messages | tojson(indent=10000000000) }}",
    "slice": "{{ messages | slice(10000000000) | list }}",
    "batch": "{{ messages | batch(10000000000, 'x') | list }}",
    "round": "{{ 1.5 | round(1000000000) }}",
    "round up": "{{ 15 | round(10000000, 'ceil') }}",
    "round down by name": "{{ 15 | round(method='floor', precision=-10000000) }}",
    "round a text": "{{ 'a' | round(10, 'ceil') }}",
    "%": "{{ '%10000000000d' % 1 }}",
    "% of bytes": "{{ '%10000000000d'.encode() % 1 }}",
    "% with brackets in the name": "{{ '%(a())10000000000d' % {'a()': 1} }}",
    "% with an error after it": "{{ ('%9999d' * 10000 ~ '%(') % ((1,) * 10000) }}",
    "% with a width of its own": "{{ '%*d' % (10000000000, 1) }}",
    "format": "{{ '%.10000000000f' | format(1) }}",
    "str.format": "{{ '{:>10000000000}'.format(1) }}",
    "str.format with a width of its own": "{{ '{:{}}'.format(1, 10000000000) }}",
    "str.format with a brace in the name": "{{ '{0[}]:>10000000000}'.format({'}': 1}) }}",
    "str.format_map": "{{ '{a:>10000000000}'.format_map({'a': 1}) }}",
    "power": "{{ 9 ** 9 ** 9 ** 9 ** 9 ** 9 % 7 }}",
    "squares": doubling("n.x * n.x", "10"),
    "from bytes": BIG + "{{ (1).from_bytes(x.encode(), 'big') // 3 }}",
    "shared values": "{{ (['a' * 800000] * 1000) | string | length }}",
}


PAIR = "{% set x = 'a' * 4000000 %}{% set y = 'b' ~ 'a' * 1000000 %}"
STEPS = {
    "names that do not end": "{{ ('%(' * 30000) % () }}",
    "many names that do not end": "{{ ('%(' * 1000000) % () }}",
    "flags": "{{ ('%' ~ '#' * 60000) % () }}",
    "digits": "{{ ('%' ~ '0' * 60000) % () }}",
    "points": "{{ ('%' ~ '1.' * 30000) % () }}",
    "format": "{{ ('%(' * 1000000) | format(1) }}",
    "colons": "{{ ('{' ~ ':' * 60000).format() }}",
    "many colons": "{{ ('{' ~ ':' * 4000000).format() }}",
    "a long specification": "{{ ('{:' ~ '1:' * 30000 ~ '}').format(1) }}",
    "braces": "{{ ('{' * 60001).format() }}",
    "str.format_map": "{{ ('{' ~ ':' * 4000000).format_map({}) }}",
    "sum of lists": "{{ ([[1]] * 50000) | sum(start=[]) | length }}",
    "sum of a list and itself": "{% set x = [1] %}{{ ([x] * 100) | sum(start=x) | length }}",
    "sum of tuples": "{{ ([(1,)] * 50000) | sum('0', ()) | length }}",
    "sum of texts": "{{ (['a' * 1000] * 4000) | sum(none, '') | length }}",
    "encode": "{{ ('é' * 1000000).encode('punycode') | length }}",
    "encode by name": "{{ ('é' * 1000000).encode(encoding='IDNA') | length }}",
    "decode": "{{ ('a' * 1000000).encode().decode('punycode') | length }}",
    "long names of characters": "{{ ('é' * 1000000).encode('ascii', 'namereplace') | length }}",
    "Markup.striptags": "{{ (('<!--' * 1000000) | safe).striptags() }}",
    "round": "{{ 15 | round(10000000, 'ceil') }}",
    "Markup.unescape": "{{ (('&a' * 4000000) | safe).unescape() | length }}",
    "sort": "{{ (messages * 50000) | sort(attribute='role,' * 1000) | length }}",
    "trim": PAIR + "{{ x | trim(y) }}",
    "equal hashes": "{{ {}.fromkeys(range(0, (2 ** 61 - 1) * 100000, 2 ** 61 - 1)) | length }}",
    "dict of equal hashes": "{{ dict(range(0, (2 ** 61 - 1) * 100000, 2 ** 61 - 1) | batch(2)) | length }}",
    **{f"str.{name}": PAIR + f"{{{{ x.{name}(y) }}}}" for name in sorted(template_budget.SEARCHES)},
    **{f"bytes.{name}": PAIR + f"{{{{ x.encode().{name}(y.encode()) }}}}" for name in ("rfind", "rsplit", "strip")},
    "a search within the limit": "{{ ('a' * 4000000).rfind('b' ~ 'a' * 60) }}",
    **{
        name: f"{{{{ ('<a ' * 1000000) | {name} }}}}"
        for name in ("pprint", "striptags", "urlize", "wordwrap", "xmlattr")
    },
}


@pytest.mark.parametrize("source", STEPS.values(), ids=STEPS)
def test_no_single_step_takes_long(source: str) -> None:
    began = time.thread_time()
    with suppress(ChatTemplateError):
        render(source)
    assert time.thread_time() - began < 1


@pytest.mark.parametrize("source", TOO_LONG.values(), ids=TOO_LONG)
def test_a_template_that_runs_on_is_stopped(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_budget, "SECONDS", SECONDS)
    began = time.thread_time()
    with pytest.raises(ChatTemplateError, match=r"^t: the chat template is refused: it took more than 0.2 seconds$"):
        render(source)
    assert time.thread_time() - began < SECONDS + 5


@pytest.mark.parametrize("source", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_template_that_makes_too_much_is_stopped_before_it_is_there(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(template_budget, "SECONDS", 60.0)
    monkeypatch.setattr(template_budget, "VALUE_LIMIT", 1 << 18)
    with pytest.raises(ChatTemplateError, match=r"^t: the chat template is refused: it (makes|computes|formats) a"):
        render(source)


def test_the_sum_of_what_is_made_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_budget, "TOTAL_LIMIT", 1000)
    with pytest.raises(ChatTemplateError, match=r"is refused: it makes too much text$"):
        render("{% for i in range(100) %}{{ 'a' * 20 }}{% endfor %}")


@pytest.mark.parametrize(
    "source",
    [
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
        "{% block a %}{{ self.a() }}{% endblock %}",
    ],
)
def test_endless_recursion(source: str) -> None:
    with pytest.raises(ChatTemplateError, match=r"failed on these messages: it, or they, are nested too deeply$"):
        render(source)


def test_messages_that_hold_themselves_or_what_is_no_json() -> None:
    messages: list[dict[str, Any]] = [{"role": "user"}]
    messages[0]["content"] = messages
    with pytest.raises(ChatTemplateError, match=r"nested too deeply$"):
        render("{{ messages }}", messages)
    with pytest.raises(ChatTemplateError, match=r"a message holds a object; give texts"):
        render("{{ messages }}", [{"role": "user", "content": object()}])


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "it is nested too deeply"),
        ("{{ " + "[" * 5000 + "1" + "]" * 5000 + " }}", "it is nested too deeply"),
        ("{{ " + "-" * 5000 + "1 }}", "it is nested too deeply"),
        ("{{ a" + ".b" * 5000 + " }}", "it is nested too deeply"),
        ("{% if a %}" * 1000 + "{% endif %}" * 1000, "it is nested too deeply"),
        ("{% for a in b %}" * 30 + "{% endfor %}" * 30, "too many statically nested blocks"),
        ("{{ " + "9" * 10000 + " }}", "Exceeds the limit"),
        ("a" * 200_000, "it has 200000 characters"),
        ("{{1}}" * 1_001, "it has more than 1000 parts"),
        ("{{", "unexpected 'end of template'"),
        ("{% break %}", "'break' outside loop"),
    ],
    ids=range(11),
)
def test_a_source_that_cannot_be_compiled(source: str, problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template_sandbox, "PARTS_LIMIT", 1000)
    with pytest.raises(ChatTemplateError, match=f"^t: the chat template is not valid: {problem}"):
        render(source)


def test_constants_are_not_folded_while_the_template_is_compiled() -> None:
    source = "{% if false %}{{ 'a' | center(10000000000) }}{{ 'a' * 10 ** 11 }}{% endif %}fine"
    assert render(source) == "fine"


def test_what_a_template_says_of_itself_is_cut() -> None:
    with pytest.raises(ChatTemplateError) as caught:
        render("{{ raise_exception('a' * 100000) }}")
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        # An iterator is true even when it has nothing to give.
        ("{% if messages | selectattr('role', 'equalto', 'x') %}yes{% endif %}", "yes"),
        ("{{ messages | map(attribute='role') | join(',') }}", "user"),
        ("{% for m in messages %}{{ loop.length }}{{ loop.last }}{{ loop.nextitem }}{% endfor %}", "1True"),
        ("{% set n = namespace(a=1) %}{% set n.a = n.a + 1 %}{{ n.a }}", "2"),
        ("{{ [1, 2, 3][1:] }}{{ 'abc'[::-1] }}{{ messages[-1:][0].role }}", "[2, 3]cbauser"),
        ("{% set a, b = 1, (2, 3) %}{{ a ~ b ~ nothing ~ '<' }}", "1(2, 3)<"),
        ("{% autoescape true %}{{ '<' }}{{ '<' ~ '>' }}{% endautoescape %}", "&lt;&lt;&gt;"),
        ("{{ '%s-%03d' % ('a', 7) }}{{ '{}{:>3}'.format('a', 'b') }}{{ '{{}}'.format() }}", "a-007a  b{}"),
        ("{{ '%(a)s|%(b(c))5.1f|%%' % {'a': '%(', 'b(c)': 1.5} }}", "%(|  1.5|%"),
        ("{{ '{a:>3}|{b[x]!r}|{{:99999}}'.format(a=1, b={'x': 'y'}) }}", "  1|'y'|{:99999}"),
        ("{{ [1, 2.5] | sum }}{{ [{'a': 1}] | sum('a', 2) }}{{ [1] | sum(start=1) }}", "3.532"),
        ("{{ 42.55 | round(1, 'floor') }}{{ 7 | round }}{{ 1.25 | round(precision=1) }}", "42.571.2"),
        ("{{ 'é'.encode() | length }}{{ 'é'.encode('Latin_1').decode('latin-1') }}", "2é"),
        (
            "{{ 'a</think>b'.split('</think>')[-1] }}{{ '\n a'.strip('\n') | trim }}{{ 'aXb' | replace('X', '-') }}",
            "baa-b",
        ),
        ("{{ messages[0].items() | list }}", "[('role', 'user'), ('content', 'Hi')]"),
        ("{% macro f(x) %}[{{ x }}{{ caller() }}]{% endmacro %}{% call f(2) %}!{% endcall %}", "[2!]"),
    ],
)
def test_ordinary_templates_mean_what_they_meant(source: str, expected: str) -> None:
    assert render(source) == expected
