"""The page in a real browser: nothing goes wrong, nothing is loaded, and the keyboard does everything."""

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from graphwright.reporting.html import render
from graphwright.reporting.pipeline_report import PipelineReport
from tests.graphwright.reporting.html import reports
from tests.graphwright.reporting.html.chromium import Browser, chromium, source_of
from tests.graphwright.reporting.html.test_page import HOSTILE, hostile

pytestmark = pytest.mark.slow

CONTROLS = "a[href], button, input, select, summary, [tabindex='0']"


@pytest.fixture(scope="module")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture(scope="module")
def report() -> PipelineReport:
    return reports.storyteller()


@pytest.fixture(scope="module")
def page(report: PipelineReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(render(report), encoding="utf-8")
    return path


@pytest.fixture
def browser(window: Browser, page: Path) -> Iterator[Browser]:
    """The page of the bundled model, opened anew; whatever a test did with it, it logged and loaded nothing."""
    window.emulate(prefers_color_scheme="light")
    window.resize(1280)
    yield from opened(window, page)


def opened(window: Browser, page: Path) -> Iterator[Browser]:
    window.messages()
    window.requests()
    window.open(page)
    yield window
    assert window.messages() == []
    assert [url for url in window.requests() if not url.startswith("data:")] == [page.as_uri()]


def controlled(browser: Browser, button: WebElement) -> WebElement:
    return browser.find(f"#{button.get_attribute('aria-controls')}")


def pass_button(browser: Browser, name: str) -> WebElement:
    return next(b for b in browser.all(".passes button:not([data-diff])") if b.text == name)


def numbers(browser: Browser) -> list[int]:
    return browser.run("return [...document.querySelectorAll('#lines .line')].map((l) => Number(l.dataset.number))")


def test_tab_reaches_every_control_and_the_focus_shows(browser: Browser) -> None:
    shown = [control for control in browser.all(CONTROLS) if control.is_displayed() and control.is_enabled()]
    assert len(shown) > 25
    reached: list[WebElement] = []
    while len(reached) <= len(shown):
        browser.press(Keys.TAB)
        focused = browser.focused
        if focused.tag_name == "body" or focused in reached:
            break
        reached.append(focused)
        assert browser.run("return getComputedStyle(arguments[0]).outlineStyle", focused) != "none"
    missed = [control for control in shown if control not in reached]
    assert not [source_of(control) for control in missed]


def test_everything_has_a_name(browser: Browser) -> None:
    for control in browser.all(CONTROLS):
        assert control.accessible_name or not control.is_displayed(), source_of(control)
    assert all(table.find_elements("css selector", ":scope > caption") for table in browser.all("table"))
    assert all(plot.accessible_name for plot in browser.all("svg.plot"))
    ids = browser.run("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("key", [Keys.ENTER, Keys.SPACE])
def test_a_pass_opens_and_its_diff(browser: Browser, report: PipelineReport, key: str) -> None:
    row = next(row for row in report.passes if row.name == "fuse-norms")
    button = pass_button(browser, "fuse-norms")
    detail = controlled(browser, button)
    assert not detail.is_displayed()
    browser.tab_to(button)
    browser.press(key)
    assert detail.is_displayed()
    assert button.get_attribute("aria-expanded") == "true"
    assert row.hits[0].rule in detail.text
    assert row.near_misses[0].reason in detail.text

    diff_button = detail.find_element("css selector", "button[data-diff]")
    diff = controlled(browser, diff_button)
    assert not diff.find_elements("css selector", ".line")
    browser.press(Keys.TAB)
    while browser.focused != diff_button:
        browser.press(Keys.TAB)
    browser.press(key)
    assert diff.is_displayed()
    lines = row.diff.splitlines()
    # Lines out of sight are drawn for printing only.
    browser.run("dispatchEvent(new Event('beforeprint'))")
    texts, kinds = browser.run(
        "const lines = [...arguments[0].querySelectorAll('.line')];"
        "return [lines.map((l) => l.textContent), lines.map((l) => l.className)]",
        diff,
    )
    assert texts == lines
    marks = {"+": "line added", "-": "line removed", "@": "line hunk", " ": "line"}
    assert kinds == [marks[line[0]] for line in lines]

    browser.press(key)
    assert not diff.is_displayed()
    browser.tab_to(button)
    browser.press(key)
    assert not detail.is_displayed()


def test_the_filter(browser: Browser, report: PipelineReport) -> None:
    lines = report.graph.splitlines()
    found = browser.find("#found")
    assert found.text == f"{len(lines)} lines"
    assert not browser.find("#next").is_enabled()

    browser.tab_to(browser.find("#needle"))
    browser.type("RMS_norm(")
    expected = [number for number, line in enumerate(lines, 1) if "rms_norm(" in line]
    assert numbers(browser) == expected
    assert found.text == f"1 of {len(expected)} matching lines"
    assert [mark.text for mark in browser.all("#lines .line:first-child .match")] == ["rms_norm", "("]

    browser.press(Keys.ENTER)
    assert found.text.startswith("2 of")
    browser.press(Keys.SHIFT, Keys.ENTER)
    browser.press(Keys.SHIFT, Keys.ENTER)
    assert found.text == f"{len(expected)} of {len(expected)} matching lines"
    assert browser.find(".current").get_attribute("data-number") == str(expected[-1])

    browser.tab_to(browser.find("#next"))
    browser.press(Keys.SPACE)
    assert found.text.startswith("1 of")
    browser.tab_to(browser.find("#previous"))
    browser.press(Keys.ENTER)
    assert found.text.startswith(f"{len(expected)} of")

    browser.tab_to(browser.find("#only"))
    browser.press(Keys.SPACE)
    assert len(numbers(browser)) >= 200
    assert browser.find(".current").get_attribute("data-number") == str(expected[-1])
    assert in_view(browser, "#lines .current")


def in_view(browser: Browser, selector: str) -> bool:
    return browser.run(
        "const line = document.querySelector(arguments[0]).getBoundingClientRect();"
        "const box = document.getElementById('lines').getBoundingClientRect();"
        "return box.top <= line.top && line.bottom <= box.bottom",
        selector,
    )


def test_the_filter_by_field(browser: Browser, report: PipelineReport) -> None:
    lines = report.graph.splitlines()
    browser.tab_to(browser.find("#needle"))
    browser.type("attn")
    assert len(numbers(browser)) == sum("attn" in line for line in lines)
    browser.tab_to(browser.find("#field"))
    browser.press(Keys.ARROW_DOWN)
    assert browser.read("#field", "value") == "op"
    assert numbers(browser) == []
    assert browser.find("#found").text == f"no match in {len(lines)} lines"
    browser.press(Keys.ARROW_DOWN)
    places = [line.rpartition("  at ")[2] if "  at " in line else "" for line in lines]
    assert len(numbers(browser)) == sum("attn" in place for place in places)


def test_tables_beside_plots_open(browser: Browser) -> None:
    for section in ("#roofline", "#memory"):
        summary = browser.find(f"{section} > details > summary")
        browser.tab_to(summary)
        browser.press(Keys.ENTER)
        assert browser.find(f"{section} table").is_displayed()


def test_both_colour_schemes(browser: Browser) -> None:
    def ground() -> str:
        return browser.run("return getComputedStyle(document.body).backgroundColor")

    button = browser.find("#theme")
    light = ground()
    assert button.text == "Dark colours"
    browser.emulate(prefers_color_scheme="dark")
    browser.wait("document.getElementById('theme').textContent === 'Light colours'")
    dark = ground()
    assert light == "rgb(255, 255, 255)"
    assert dark not in (light, "rgba(0, 0, 0, 0)")
    browser.tab_to(button)
    browser.press(Keys.ENTER)
    assert ground() == light
    browser.press(Keys.SPACE)
    assert ground() == dark
    assert button.text == "Light colours"


@pytest.mark.parametrize("width", [320, 390, 1280, 2400])
def test_nothing_sticks_out(browser: Browser, width: int) -> None:
    browser.resize(width)
    for button in browser.all(".passes button"):
        browser.run("arguments[0].click()", button)
    assert browser.run("return document.documentElement.scrollWidth") <= width


def test_it_prints(browser: Browser) -> None:
    assert base64.b64decode(browser.printed()).startswith(b"%PDF")


def test_texts_of_users_do_nothing(window: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(render(hostile()), encoding="utf-8")
    for browser in opened(window, path):
        assert browser.read("h1", "textContent") == HOSTILE
        for button in browser.all("button[aria-controls]"):
            browser.run("arguments[0].click()", button)
        assert browser.read("#diff-1 .line", "textContent") == f"+{HOSTILE}"
        assert browser.read("#lines .line", "textContent") == HOSTILE
        assert not browser.all("img")


def test_of_a_large_graph_only_what_is_near_the_view_is_drawn(window: Browser, tmp_path: Path) -> None:
    """Tens of thousands of lines are listed, searched and gone through; drawing all takes seconds a keypress."""
    lines = [f"  %{i} = linear(%{i - 1}, @w) : f32[B, S, 4]  at model.layers.{i // 40}" for i in range(40_000)]
    text = "\n".join(lines)
    path = tmp_path / "large.html"
    path.write_text(render(reports.small(graph=text, passes=[reports.row(diff=text)])), encoding="utf-8")
    for browser in opened(window, path):
        browser.run("for (const b of document.querySelectorAll('button[aria-controls]')) b.click();")
        browser.tab_to(browser.find("#needle"))
        browser.type("layers.999")
        assert browser.find("#found").text == "1 of 40 matching lines"
        browser.run("document.getElementById('only').click()")
        assert browser.find(".current").get_attribute("data-number") == "39961"
        assert in_view(browser, "#lines .current")
        browser.run("document.getElementById('lines').scrollTop = 0")
        browser.wait("document.querySelector('#lines .line').dataset.number === '1'")
        browser.run("document.getElementById('lines').scrollTop = 1e9")
        browser.wait("document.querySelector('#lines .current')")
        assert len(numbers(browser)) < 1000
        assert browser.run("return document.querySelectorAll('.line').length") < 2000  # the open diff's included
