"""A headless Chromium, driven over WebDriver: what a page logs, asks the network for, and does with the keyboard."""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

SKIPPED = "Chromium is not installed: apt-get install -y chromium chromium-driver"
_FLAGS = (
    "--headless=new",
    # Chromium refuses to start its sandbox as root, as which containers run tests; the page is our own.
    "--no-sandbox",
    "--disable-gpu",
    # The shared memory of containers is small.
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1280,900",
)
PATIENCE = 20.0
"""Seconds for what takes a fraction of one; on a machine under load, too."""


class Browser:
    """One page in a Chromium of its own."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self._driver = driver
        self._untyped: Any = driver
        """The same: Selenium leaves open what scripts, commands and logs give."""

    def open(self, page: Path) -> None:
        self._driver.get(page.as_uri())

    def run(self, script: str, *arguments: object) -> Any:
        """What a function body of JavaScript returns."""
        return self._untyped.execute_script(script, *arguments)

    def find(self, selector: str) -> WebElement:
        return self._driver.find_element("css selector", selector)

    def all(self, selector: str) -> list[WebElement]:
        return self._driver.find_elements("css selector", selector)

    def read(self, selector: str, name: str) -> Any:
        """A property of the first element of that kind, as JavaScript sees it."""
        return self.run("return document.querySelector(arguments[0])[arguments[1]]", selector, name)

    def press(self, *keys: str) -> None:
        """Keys to whatever has the focus, all held together."""
        action = webdriver.ActionChains(self._driver)
        for key in keys:
            action.key_down(key)
        for key in reversed(keys):
            action.key_up(key)
        action.perform()

    def type(self, text: str) -> None:
        webdriver.ActionChains(self._driver).send_keys(text).perform()

    @property
    def focused(self) -> WebElement:
        return self._driver.switch_to.active_element

    def tab_to(self, element: WebElement) -> None:
        """Press Tab until `element` has the focus; fails once the focus has gone around."""
        first = None
        while self.focused != element:
            self.press(Keys.TAB)
            focused = self.focused
            assert focused != first, f"Tab does not reach {source_of(element)}"
            first = first or focused

    def wait(self, script: str) -> None:
        """Until an expression of JavaScript holds."""
        WebDriverWait(self._driver, PATIENCE, 0.02).until(lambda _: self.run(f"return Boolean({script})"), script)

    def emulate(self, **features: str) -> None:
        """Media features, such as `prefers_color_scheme`."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self._untyped.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": named})

    def resize(self, width: int, height: int = 900) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._untyped.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)

    def printed(self) -> str:
        """The page as PDF, base64."""
        return self._untyped.execute_cdp_cmd("Page.printToPDF", {})["data"]

    def messages(self) -> list[str]:
        """What the console has said since the last call, its warnings and violations of policy included."""
        return [f"{entry['level']}: {entry['message']}" for entry in self._untyped.get_log("browser")]

    def requests(self) -> list[str]:
        """The addresses that the page asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self._untyped.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]


def source_of(element: WebElement) -> str:
    """The beginning of its HTML."""
    return (element.get_attribute("outerHTML") or "")[:200]


@contextmanager
def chromium(profile: Path) -> Generator[Browser]:
    """A Chromium with a fresh profile in the folder `profile`; skips the test where there is none."""
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip(SKIPPED)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield Browser(window)
    finally:
        window.quit()
