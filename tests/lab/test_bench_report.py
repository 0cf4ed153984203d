"""The report in a browser: drawn on a desktop, a phone, in the dark and on paper, without complaint."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.trtspark.test_bench_report import several
from trtspark.bench.report import render

pytestmark = [pytest.mark.lab, pytest.mark.long]
FLAGS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZES = {"desktop": (1200, 900, False), "phone": (390, 844, True)}


@pytest.fixture(scope="module")
def made():
    return several()


@pytest.fixture(scope="module")
def page(made, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(made), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def visit(browser, page, size="desktop", scheme="light", media=""):
    width, height, phone = SIZES[size]
    values = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", values)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    browser.get(page.as_uri())


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_drawn_without_complaint_and_fits(browser, page, size, scheme, tmp_path):
    browser.get("about:blank")  # away from the browser's own first page
    browser.get_log("performance")
    visit(browser, page, size, scheme)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    assert wide <= SIZES[size][0]
    drawings = browser.find_elements(By.CSS_SELECTOR, "main section > .cards svg[role=group]")
    assert len(drawings) >= 8
    assert all(one.size["width"] > 200 and one.size["height"] > 30 for one in drawings)
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    level = sum(int(part) for part in ground[4:-1].split(","))
    assert (level < 200) == (scheme == "dark")
    picture = tmp_path / "page.png"
    assert browser.save_screenshot(str(picture))
    assert picture.stat().st_size > 10_000


def test_numbers_shown_are_the_files(browser, page, made):
    visit(browser, page)
    cells = browser.find_elements(By.CSS_SELECTOR, "[data-figure='figures.output_tokens_per_s']")
    assert len(cells) == 4  # three runs and the headline
    for one in cells:
        figures = made[int(one.get_attribute("data-run"))][1].figures
        assert float(one.get_attribute("data-value")) == figures.output_tokens_per_s
        assert float(one.text.replace(",", "")) == pytest.approx(figures.output_tokens_per_s, rel=0.01)


def test_a_keyboard_reaches_every_point_and_hears_its_value(browser, page):
    visit(browser, page)
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text.startswith("To the table")
    for _ in range(40):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        focused = browser.switch_to.active_element
        if "dot" in (focused.get_attribute("class") or ""):
            break
    assert "at once" in focused.get_attribute("aria-label")
    tip = focused.find_element(By.CSS_SELECTOR, ".tip")
    assert browser.execute_script("return getComputedStyle(arguments[0]).opacity", tip) == "1"


def test_on_paper_the_numbers_are_open(browser, page):
    visit(browser, page, media="print")
    tables = browser.find_elements(By.CSS_SELECTOR, "figure details table")
    assert tables
    assert all(one.size["height"] > 0 for one in tables)
    assert len(browser.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 10_000
