"""The site builds strictly and offline: all pages in its navigation, all public names in its reference, links hold."""

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import tfprune

pytest.importorskip("mkdocstrings")
ROOT = Path(__file__).parents[1]


class _Page(HTMLParser):
    """Anchors of a page, links that it offers, and what a browser fetches for it by itself."""

    def __init__(self, text):
        super().__init__()
        self.anchors, self.links, self.fetched = set(), set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.anchors |= {given[name] for name in ("id", "name") if given.get(name)}
        if tag == "a" and given.get("href"):
            self.links.add(given["href"])
        elif tag != "a":
            self.fetched |= {given[name] for name in ("src", "href", "data") if given.get(name)}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Folder of the site, and its pages by their place in it."""
    place = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(place)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.relative_to(place): _Page(path.read_text()) for path in place.rglob("*.html")}
    return place, pages


def test_every_page_is_built_and_every_public_name_has_one_entry(site):
    _, pages = site
    sources = {path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")}
    assert sources <= set(pages)
    entries = [
        name
        for path, page in pages.items()
        if path.parts[0] == "api"
        for name in tfprune.__all__
        if f"tfprune.{name}" in page.anchors
    ]
    assert sorted(entries) == sorted(tfprune.__all__)
    written = re.findall(r"^::: (.+)$", "\n".join(path.read_text() for path in (ROOT / "docs").rglob("*.md")), re.M)
    assert len(written) == len(set(written))


def test_links_and_anchors_hold_and_nothing_is_fetched_from_elsewhere(site):
    place, pages = site
    for path, page in pages.items():
        if path.name == "404.html":
            continue  # its links begin at the root of a server
        for link in page.links | page.fetched:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                assert link in page.links or parts.scheme == "data", f"{path} fetches {link}"
                continue
            target = (place / path).parent / unquote(parts.path) if parts.path else place / path
            assert target.exists(), f"{path}: {link}"
            other = pages.get(target.resolve().relative_to(place.resolve()))
            if parts.fragment and other is not None:
                assert unquote(parts.fragment) in other.anchors | {"__search"}, f"{path}: {link}"
    for sheet in place.rglob("*.css"):
        assert not re.findall(r"""(?:url\(|@import)\s*["']?(?:https?:)?//""", sheet.read_text()), sheet


@pytest.mark.skipif(not (shutil.which("chromium") and shutil.which("chromedriver")), reason="no chromium")
def test_search_works_from_the_disk(site):
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        browser.get((site[0] / "api" / "prune.html").as_uri())
        wait = WebDriverWait(browser, 60)
        box = wait.until(lambda _: browser.find_element(By.CSS_SELECTOR, ".md-search__input"))
        wait.until(lambda _: box.is_displayed())
        box.click()
        box.send_keys("quantization_aware")
        found = wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".md-search-result__link"))
        assert any("api/export.html" in link.get_attribute("href") for link in found)
        assert not browser.get_log("browser")
    finally:
        browser.quit()
