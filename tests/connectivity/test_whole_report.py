"""The page on a model's whole way holds measured numbers, and nothing that was not given."""

import re
from html.parser import HTMLParser
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers as L
from matplotlib.figure import Figure

import tfprune
from tfprune.errors import InputError


@pytest.fixture(scope="module")
def way():
    """Dense, sparse and small models, and labelled examples; only the dense one is compiled."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 6)).astype(np.float32), rng.integers(0, 3, 50)
    hidden = [L.Dense(8, "relu", name="hidden"), L.Dense(3, "softmax", name="head")]
    dense = keras.Sequential([keras.Input((6,), name="x"), *hidden], name="a_net")
    dense.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    masks = {"hidden/kernel": np.ones((6, 8), bool), "head/kernel": np.ones((8, 3), bool)}
    masks["hidden/kernel"][:, 3:] = False  # five units give their bias alone, which is 0
    masks["hidden/kernel"][:3, 0] = False
    sparse = tfprune.masked(dense, masks)
    return dense, sparse, tfprune.compact(sparse), (x, y)


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.images, self.addresses = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.images += [value for name, value in attributes if tag == "img" and name == "src"]
        self.addresses += [value for name, value in attributes if name in ("href", "src")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


@pytest.fixture(scope="module")
def page(way):
    dense, sparse, small, data = way
    options = {"precisions": (), "repeats": 1, "title": "Less & faster"}
    return tfprune.report(dense, sparse, small, data, **options)


def test_numbers_are_those_of_the_models(way, page):
    dense, sparse, small, (x, y) = way
    for name, model in {"dense": dense, "sparse": sparse, "small": small}.items():
        numbers, outputs = page.numbers[name], model(x).numpy()
        assert numbers["accuracy"] == pytest.approx((outputs.argmax(1) == y).mean(), abs=1e-6)
        assert numbers["loss"] == pytest.approx(-np.log(outputs[np.arange(50), y]).mean(), rel=1e-4)
    assert not small.compiled
    assert page.numbers["dense"]["parameters"] == dense.count_params() == 83
    assert page.numbers["small"]["parameters"] == small.count_params() == 6 * 3 + 3 + 3 * 3 + 3
    found = page.numbers["sparse"]
    assert (found["weights kept"], found["weights effective"]) == (24 + 15, 15 + 9)
    assert found["direct sparsity"] == pytest.approx(1 - 39 / 72) and found["compression"] == pytest.approx(72 / 39)
    assert (found["FLOPs"], found["FLOPs kept"], page.numbers["small"]["FLOPs"]) == (144, 78, 54)
    assert [(row["model"], row["format"]) for row in page.files] == [
        (name, kind) for name in ("dense", "sparse", "small") for kind in ("keras", "savedmodel")
    ]


def test_every_form_tells_the_same(page, tmp_path):
    for end in ("txt", "md", "html"):
        page.save(tmp_path / f"page.{end}")
    text, card, html = ((tmp_path / f"page.{end}").read_text() for end in ("txt", "md", "html"))
    assert text == repr(page) + "\n" and html.strip() == page._repr_html_().strip()
    read = _Page(html)
    assert not read.open and read.cells.count("hidden/kernel") == 1
    assert len(read.images) == 1 and all(place.startswith("data:image/svg+xml;base64,") for place in read.addresses)
    tables = re.findall(r"(?:^\|.*\n)+", card, re.M)
    assert card.startswith("---\nlibrary_name: keras\n") and len(tables) == 3
    assert all(len({line.count(" |") for line in table.splitlines()}) == 1 for table in tables)
    for number in (
        f"{page.numbers['sparse']['accuracy']:.4f}",
        f"{page.files[0]['bytes']:,}",
        "0.4583",
        "TensorFlow 2.",
    ):
        assert number in text and number in card and number in html
    assert "Less & faster" in text and "<h1>Less &amp; faster</h1>" in html


def test_what_is_not_given_is_left_out(way, tmp_path):
    dense, sparse, _, (x, _) = way
    page = tfprune.report(dense, sparse, files=False, path=tmp_path / "page.md")
    assert [section.title for section in page.sections] == ["In short", "Layers", "Measured on"]
    text = (tmp_path / "page.md").read_text()
    assert not re.search("accuracy|loss|small|bytes|ms", text.split("## Measured on")[0]) and page.files == []
    unlabelled = tfprune.report(dense, sparse, data=x, precisions=(), repeats=1)
    assert "accuracy" not in unlabelled.numbers["dense"] and len(unlabelled.files) == 4


def test_sensitivity_and_files_that_cannot_be_made(tmp_path):
    inputs = keras.Input((4,), name="x")
    model = keras.Model(inputs, keras.ops.erfinv(0.5 * L.Dense(3, "tanh", name="d")(inputs)))
    found = SimpleNamespace(table=pd.DataFrame({0.5: [0.875], 0.9: [0.25]}, index=["d"]), figure=Figure)
    sparse = tfprune.masked(model, {"d/kernel": np.eye(4, 3, dtype=bool)})
    page = tfprune.report(model, sparse, sensitivity=found, precisions=["float32"], repeats=1)
    sections = {section.title: section for section in page.sections}
    assert sections["Sensitivity"].table == {"d": {"0.5": "0.875", "0.9": "0.25"}}
    assert len(sections["Sensitivity"].pictures) == 1
    left_out = [line for line in sections["Files"].lines if line.startswith("left out: ")]
    assert len(left_out) == 2 and all("no kernel for Erfinv" in line for line in left_out) and len(page.files) == 4


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"path": "page.pdf"}, r"must end in \.txt, \.html, \.md\. Received: page\.pdf$"),
        ({"path": "nowhere/page.md"}, "there is no folder nowhere$"),
        ({"data": (1,)}, r"a tuple must be \(x, y\) or \(x, y, weights\)\. Received: 1 parts$"),
        ({"data": 3}, "data must be .* Received: int$"),
        ({"data": iter([1])}, "a generator can be read once only"),
        ({"data": (np.zeros((4, 6)), np.zeros(4)), "dense": None}, r"no model is compiled: model\.compile"),
        (
            {"data": (np.zeros((4, 5)), np.zeros(4))},
            r"data: model 'a_net' cannot be evaluated on them: .* shape \(None, 5\)",
        ),
        ({"sensitivity": 3}, r"sensitivity needs a table or a figure\(\)\. Received: int$"),
    ],
)
def test_bad_input_is_one_line(way, arguments, message):
    sparse = way[1]
    plain = tfprune.strip(sparse, compiled=False)
    given = {"dense": way[0], "sparse": plain, **arguments, "files": False}
    if given["dense"] is None:
        given["dense"] = plain
    with pytest.raises(InputError, match=message) as caught:
        tfprune.report(**given)
    assert "\n" not in str(caught.value)
