"""The results page in a browser: filters, order, means, fronts and a run, as a person would ask for them."""

import contextlib
import json
import math
import re
import shutil
import sys
import time
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from tfprune.errors import InputError
from tfprune.overview import page as page_module
from tfprune.overview.details import Details, Layer
from tfprune.overview.page import write_page
from tfprune.overview.page_details import packed_details, thinned
from tfprune.overview.page_runs import columns_of, packed_runs, rounded

HOSTILE = "</script><script>window.ran = true</script><img src=x onerror='window.ran = true'>"
CHROMIUM = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--window-size=1600,1400"),
)
# All elements below the page that a selector finds, within the shadow trees of Bokeh's views, too.
DEEP = """
const deep = (selector, root = document) => [...root.querySelectorAll(selector),
  ...[...root.querySelectorAll("*")].flatMap((each) => each.shadowRoot ? deep(selector, each.shadowRoot) : [])];
const text = (selector) => deep(selector)[0].textContent;
const named = (name) => Bokeh.documents.map((each) => each.get_model_by_name(name)).find(Boolean);
"""


def _run(method, seed, compression, accuracy, **others):
    return {
        "family": "one_shot",
        "label": f"{method} {compression:g}",
        "network": "lenet300100",
        "data": "digits",
        "method": method,
        "series": method,
        "group": f"{method} {compression}",
        "seed": str(seed),
        "level": pd.NA,
        "compression": float(compression),
        "effective_compression": 2.0 * compression,
        "accuracy": accuracy,
        "loss": -math.log(accuracy),
        "parameters_masked": 1000 // compression,
        "seconds": 1.0 + seed,
        "settings": {"pruner": method, "sample": seed, "compression": compression, "iterations": 300},
        "folder": f"runs/{method}",
        "file": f"{seed}_{compression}_result.json",
        **others,
    }


@pytest.fixture(scope="module")
def runs():
    """Two methods, two compressions, three seeds; a run whose names are HTML, and that disconnects its network."""
    rows = [
        _run(method, seed, compression, top - 0.01 * seed)
        for method, tops in {"snip": (0.9, 0.7), "synflow": (0.95, 0.85)}.items()
        for compression, top in zip((10, 100), tops, strict=True)
        for seed in range(3)
    ]
    return pd.DataFrame([*rows, _run(HOSTILE, 7, 1000, 0.1, effective_compression=math.inf)])


def _details(row):
    steps = np.arange(0.0, 1001.0, 10.0)
    return Details(
        layers=(Layer("dense1/kernel", 800, 80, 40), Layer(HOSTILE, 200, 200, 100)),
        curves={"test_accuracy": np.stack([steps, steps / 1000], 1), HOSTILE: np.array([[0.0, 2.0], [1000.0, 0.5]])},
        settings={**row["settings"], "note": HOSTILE},
        figures={"training": page_module.Path(row["folder"], "a picture.png").absolute()},
    )


@pytest.fixture(scope="module")
def written(runs, tmp_path_factory):
    return write_page(tmp_path_factory.mktemp("page") / "report.html", runs, _details, title=f"Runs {HOSTILE}")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Headless Chromium."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("chromium or chromedriver is absent")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for word in (*CHROMIUM, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(driver))
    yield started
    started.quit()


class Page:
    def __init__(self, driver):
        self.driver = driver

    def js(self, code, *arguments):
        return self.driver.execute_script(DEEP + code, *arguments)

    def wait(self, code, wanted=True):
        for _ in range(300):
            if (found := self.js(code)) == wanted:
                return
            time.sleep(0.05)
        raise AssertionError(f"{code} gives {found!r}, not {wanted!r}")

    @property
    def status(self):
        return self.driver.find_element("id", "status").text

    def data(self, source, column):
        return self.js("return Array.from(named(arguments[0]).data[arguments[1]])", source, column)

    def cells(self, place):
        """Texts of a column of the table, of the rows in sight from the top on."""
        return self.js(
            """return deep(".slick-row").sort((a, b) => parseFloat(a.style.top) - parseFloat(b.style.top))
            .map((row) => row.querySelectorAll(".slick-cell")[arguments[0]].textContent)""",
            place,
        )

    def headers(self):
        return self.js("return deep('.slick-header-column .slick-column-name').map((each) => each.textContent)")

    def click(self, selector, place=0):
        self.js("deep(arguments[0])[arguments[1]].click()", selector, place)

    def type(self, selector, text):
        field = self.driver.find_element("css selector", selector)
        field.clear()
        field.send_keys(text)


@contextlib.contextmanager
def opened(browser, path, rows):
    """A page in the browser; nothing is told of faults on its console, and nothing is asked of a network."""
    browser.get_log("browser"), browser.get_log("performance")
    browser.get(path.as_uri())
    page = Page(browser)
    page.wait("return document.body.dataset.ready", "true")
    page.wait("return deep('.slick-row').length", rows)
    yield page
    told = [entry["message"] for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    assert told == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert path.as_uri() in asked
    # `chrome:` is the empty page that the browser begins with.
    assert {url.partition(":")[0] for url in asked if url != path.as_uri()} <= {"data", "blob", "chrome"}


@pytest.fixture
def page(browser, written):
    with opened(browser, written, 13) as page:
        yield page


def test_filters(page):
    assert page.status == "All 13 runs shown."
    page.type("#search", "SYN digits")
    assert page.status == "6 of 13 runs shown; 7 hidden by search “syn digits”."
    assert page.cells(0) == ["synflow 10"] * 3 + ["synflow 100"] * 3
    page.click("[data-column=seed] input", 1)
    assert page.status == "2 of 13 runs shown; 11 hidden by search “syn digits”, Seed (1 of 4)."
    assert page.cells(0) == ["synflow 10", "synflow 100"]
    # Of the other seeds as many are told as there would be with them.
    assert page.js("return deep('[data-column=seed] .count').map((each) => each.textContent)") == ["2", "2", "2", "0"]
    page.click("#ranges summary")
    page.type("#ranges [data-column=accuracy][data-end=least]", "0.9")
    assert page.cells(0) == ["synflow 10"]
    page.click("#reset")
    assert page.status == "All 13 runs shown."
    assert page.driver.find_element("id", "search").get_attribute("value") == ""


def test_the_legend_shows_a_method_alone(page):
    page.click("#legend button", 1)
    assert page.status == "6 of 13 runs shown; 7 hidden by legend (1 of 3)."
    assert set(page.cells(1)) == {"snip"}
    page.click("#legend button", 1)
    assert page.status == "All 13 runs shown."


def test_order(page):
    headers = page.headers()
    assert headers[:3] == ["Run", "Method", "Seed"]  # the same network and data in all runs take no room
    column = headers.index("Accuracy")
    for accuracies in (["0.1000", "0.6800", "0.6900"], ["0.9500", "0.9400", "0.9300"]):
        page.click(".slick-header-column", column)
        page.wait(f"return deep('.slick-row').length && {json.dumps(accuracies)}[0]", accuracies[0])
        assert page.cells(column)[:3] == accuracies


def test_means_and_bands(page):
    # snip: 0.9, 0.89, 0.88 and 0.7, 0.69, 0.68; the sample's standard deviation is 0.01.
    page.click("#legend button", 1)
    assert page.data("direct_lines", "xs")[0] == pytest.approx([10, 100])
    assert page.data("effective_lines", "xs")[0] == pytest.approx([20, 200])
    assert page.data("direct_lines", "ys")[0] == pytest.approx([0.89, 0.69])
    assert page.data("direct_bands", "ys")[0] == pytest.approx([0.9, 0.7, 0.68, 0.88])
    page.js("deep('#band')[0].value = 'range'; deep('#band')[0].dispatchEvent(new Event('change'))")
    page.click("[data-column=seed] input", 0)
    page.click("[data-column=seed] input", 2)
    assert page.data("direct_lines", "ys")[0] == pytest.approx([0.89, 0.69])
    assert page.data("direct_bands", "ys")[0] == pytest.approx([0.9, 0.7, 0.68, 0.88])
    assert page.js("return text('#direct_note')") == "Means of n = 2 runs. "
    assert page.js("return text('#band_note')").endswith("Bands: minimum to maximum; none where n = 1.")


def test_what_has_no_place_on_an_axis_is_told(page):
    assert page.js("return text('#effective_note')").startswith("Means of n = 3 runs. Not drawn: 1 run whose")
    assert page.js("return text('#direct_note')") == "Means of n = 1 to 3 runs. "
    assert page.cells(page.headers().index("Effective compression"))[-1] == "Infinity"


def test_front(page):
    # Parameters 1, 10, 100: the best of each, for each is better than the cheaper ones.
    assert page.data("front_means", "x") == [1, 10, 100]
    assert page.data("front_means", "y") == [0.1, 0.85, 0.95]
    assert page.data("front_lines", "xs")[0] == [1, 10, 10, 100, 100]
    assert page.data("front_lines", "ys")[0] == [0.1, 0.1, 0.85, 0.85, 0.95]
    page.type("#search", "snip")
    assert page.data("front_means", "y") == [0.7, 0.9]


def test_a_run(page):
    page.click(".slick-row:nth-child(1) .slick-cell")
    assert page.js("return text('#run_title')") == "snip 10, seed 0"
    assert page.driver.find_element("id", "run_settings").text.split("\n")[:4] == ["pruner", "snip", "sample", "0"]
    rows = page.js("return deep('table.layers tbody tr').map((row) => row.innerText.trim().split(/\\s+/))")
    assert rows[0] == ["dense1/kernel", "800", "0.1", "0.05"]
    assert page.js("return deep('.layers .density div').map((each) => each.style.width)") == [
        "10%",
        "5%",
        "100%",
        "50%",
    ]
    assert len(page.data("accuracy_curves_lines", "xs")[0]) == 60
    assert page.data("loss_curves_lines", "ys") == [[2, 0.5]]
    assert page.data("direct_chosen", "x") == [10]
    link = page.js("return deep('#run_more a')[0].href")
    assert unquote(link).endswith("runs/snip/a picture.png") and link.startswith("file:")


def test_with_keys_alone(page):
    from selenium.webdriver import ActionChains, Keys

    header = page.js("return deep('.slick-header-column')[arguments[0]]", page.headers().index("Accuracy"))
    page.js("arguments[0].focus()", header)
    ActionChains(page.driver).send_keys(Keys.ENTER).perform()
    page.wait("return deep('.slick-row').length", 13)
    ActionChains(page.driver).click(page.js("return deep('.slick-row:nth-child(1) .slick-cell')[0]")).perform()
    assert page.js("return text('#run_title')") == f"{HOSTILE} 1000, seed 7"
    ActionChains(page.driver).send_keys(Keys.ARROW_DOWN).perform()
    assert page.js("return text('#run_title')") == "snip 100, seed 2"
    ActionChains(page.driver).send_keys(Keys.ARROW_DOWN).perform()
    assert page.js("return text('#run_title')") == "snip 100, seed 1"


def test_a_click_on_points_opens_their_runs(page):
    x, y = page.js(
        """const view = [...Bokeh.index.roots].find((each) => each.model.name === "front"), frame = view.frame;
        const {left, top} = view.el.getBoundingClientRect(), {x, y} = named("front_points").data;
        return [left + frame.x_scale.compute(x[5]), top + frame.y_scale.compute(y[5])]"""
    )
    mouse = {"x": x, "y": y, "button": "left", "clickCount": 1}
    seen, there = [], 1
    while len(seen) < there:
        time.sleep(0.5)  # two clicks at once are a double one
        for kind in ("mousePressed", "mouseReleased"):
            page.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": kind, **mouse})
        page.wait(f"return {json.dumps(['No run chosen', *seen])}.includes(text('#run_title'))", False)
        seen.append(page.js("return text('#run_title')"))
        there = int(re.match(r"One of (\d) runs there", page.js("return text('#run_facts')"))[1])
    # As close as they are, each can be had.
    assert {"snip 100, seed 1", "snip 100, seed 2"} <= set(seen) <= {f"snip 100, seed {seed}" for seed in range(3)}
    assert page.data("table_source", "label")[page.js("return named('table_source').selected.indices[0]")] == "snip 100"


def test_what_files_say_is_text(page):
    page.js("named('direct_points').selected.indices = [12]")
    assert page.js("return text('#run_title')") == f"{HOSTILE} 1000, seed 7"
    assert HOSTILE in page.driver.find_element("id", "run_settings").text
    assert page.cells(0)[-1] == f"{HOSTILE} 1000"
    assert page.driver.title == f"Runs {HOSTILE}"
    assert page.js("return [window.ran === undefined, deep('img[src=x]').length]") == [True, 0]


def test_runs_of_which_little_is_known(browser, runs, tmp_path):
    bare = runs.iloc[:2].assign(method=np.nan, data=np.nan, **dict.fromkeys(("accuracy", "compression"), np.nan))
    bare = bare.drop(columns=["parameters_masked", "effective_compression", "loss"])
    with opened(browser, write_page(tmp_path / "report.html", bare), 2) as page:
        assert page.status == "All 2 runs shown."
        assert page.js("return text('#direct_note')").startswith("Not drawn: 2 runs whose")
        page.click(".slick-row:nth-child(1) .slick-cell")
        assert "pruner\nsnip" in page.driver.find_element("id", "run_settings").text
        assert not page.driver.find_element("id", "run_curves").is_displayed()


def test_one_run(browser, runs, tmp_path):
    with opened(browser, write_page(tmp_path / "report.html", runs.iloc[:1], _details), 1) as page:
        assert page.status == "All 1 run shown."
        assert page.data("front_means", "y") == [0.9]
        assert page.cells(page.headers().index("Accuracy")) == ["0.9000"]


def test_runs_that_are_there_twice_are_told(browser, runs, tmp_path):
    rows = pd.concat([runs, runs[:2]], ignore_index=True)
    with opened(browser, write_page(tmp_path / "report.html", rows, _details), 15) as page:
        (told,) = page.driver.find_elements("css selector", "p.note")
        assert told.text.startswith("2 of all runs have the settings and seed of another one")
        assert page.status == "All 15 runs shown."


def test_many_studies_begin_with_the_largest(browser, runs, tmp_path):
    names = [*(f"net{number}" for number in range(25)), "large"]
    studies = [
        (runs if name == "large" else runs.iloc[:6]).assign(
            network=name, series=name + runs["series"], group=name + runs["group"]
        )
        for name in names
    ]
    with opened(browser, write_page(tmp_path / "report.html", pd.concat(studies, ignore_index=True)), 13) as page:
        assert page.status == "13 of 163 runs shown; 150 hidden by Network (1 of 26)."
        assert len(page.data("direct_lines", "xs")) == 3
        page.click("#reset")
        assert page.status == "All 163 runs shown."
        assert page.data("direct_lines", "xs") == []
        assert page.js("return text('#band_note')").startswith("28 lines would be drawn")


def test_narrow(page):
    page.driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        page.wait("return innerWidth", 400)
        page.click(".slick-row:nth-child(1) .slick-cell")
        page.wait("return document.documentElement.scrollWidth <= 400")
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_scripts_are_allowed_by_their_digests_alone(written):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', written.read_text("utf-8"))[1]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    scripts = policy.split(";")[1]
    assert "unsafe" not in scripts and "http" not in policy and scripts.count("sha256-") == 4


def test_numbers():
    assert [rounded(value) for value in (0.123456789, 123456789, 12345678.9, None, math.nan, pd.NA)] == [
        0.12346,
        123456789,
        12346000,
        None,
        None,
        None,
    ]
    assert rounded(math.inf) == "∞"


def test_curves_are_thinned_evenly_with_their_ends():
    curve = np.stack([np.arange(96_000.0), np.linspace(0, 1, 96_000)], 1)
    kept = thinned(Details(curves={"loss": curve}), 60).curves["loss"]
    assert len(kept) == 60 and kept[0].tolist() == [0, 0] and kept[-1].tolist() == [95_999, 1]
    assert np.ptp(np.diff(kept[:, 0])) <= 1


def test_what_runs_share_is_stored_once(tmp_path):
    settings = [{"steps": 300, "seed": seed} for seed in range(3)]
    layers = (Layer("kernel", 10, 5, 4),)
    packed = packed_details([Details(layers=layers, settings=each) for each in settings], 60, tmp_path)
    assert packed["settings"] == [["steps", "300"], ["seed", "0"], ["seed", "1"], ["seed", "2"]]
    assert [run["settings"] for run in packed["runs"]] == [[0, 1], [0, 2], [0, 3]]
    assert packed["layers"] == [[["kernel", 10]]] and packed["runs"][2]["effective"] == [0.4]


def test_lines_of_one_method_are_told_apart_by_their_settings(runs):
    table = runs.iloc[:6].copy()
    table["settings.target"] = ["direct"] * 3 + ["effective"] * 3
    table["settings.sample"] = table["seed"]
    table["series"] = table["settings.target"]
    packed = packed_runs(table, columns_of(table))
    assert [line["name"] for line in packed["lines"]] == ["snip (target=direct)", "snip (target=effective)"]
    assert packed["line"] == [0, 0, 0, 1, 1, 1]
    assert packed["lines"][0]["color"] != packed["lines"][1]["color"]


def test_settings_that_say_no_more_than_a_column_are_no_filter(runs):
    others = runs.assign(method="main", family="lottery", series="main", level=range(13))
    others["settings.warmup"] = [0, 10, 20] * 4 + [0]
    table = pd.concat([runs.assign(**{"settings.pruner": runs["method"]}), others], ignore_index=True)
    names = [column.name for column in columns_of(table)]
    assert "settings.warmup" in names and "settings.pruner" not in names
    assert {line["name"] for line in packed_runs(table, columns_of(table))["lines"]} == {
        "lottery: main",
        *(f"one_shot: {name}" for name in ("snip", "synflow", HOSTILE)),
    }


def test_a_page_that_is_too_large_keeps_fewer_points(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(page_module, "MOST_BYTES", 2_000_000)
    text = write_page(tmp_path / "report.html", runs, _details).read_text("utf-8")
    assert "at most 8 points" in text and "the longest has 101" in text


def test_names_of_files_that_are_no_text(runs, tmp_path):
    odd = page_module.Path(tmp_path, "runs\udcff", "javascript:x.png")
    details = Details(figures={"odd\udcff": odd})
    assert packed_details([details], 60, tmp_path)["runs"][0]["figures"] == [
        ("odd\udcff", "runs%FF/javascript%3Ax.png"),
    ]
    assert write_page(tmp_path / "report.html", runs, lambda row: details).exists()


def test_no_runs(runs, tmp_path):
    with pytest.raises(InputError, match="there are no runs to show"):
        write_page(tmp_path / "report.html", runs.iloc[:0])
    assert not list(tmp_path.iterdir())


def test_without_bokeh(runs, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "bokeh"] + ["bokeh"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"the results page: .* pip install 'tfprune\[report\]'"):
        write_page(tmp_path / "report.html", runs)
