"""Which runs a sweep file asks for, and what is wrong with one."""

import pytest

from tfprune.errors import InputError
from tfprune.sweeps.sweep_file import SweepFile


@pytest.fixture
def read(tmp_path):
    def read(text):
        path = tmp_path / "s.toml"
        path.write_text(text)
        return SweepFile(path)

    return read


def _settings(file):
    return [wanted.settings for wanted in file.runs()]


def test_lists_are_crossed_in_the_order_of_the_file_the_last_one_fastest(read):
    file = read('entry_point = "main"\nsettings = {z = 1}\n[cross]\nb = ["p", "q"]\na = [0.5, 1]\n')
    assert _settings(file) == [{"z": 1, "b": b, "a": a} for b in "pq" for a in (0.5, 1)]
    assert file.most_runs == 4
    assert [wanted.name for wanted in file.runs()][1] == "b=p a=1"


def test_without_lists_there_is_one_run(read):
    assert _settings(read('entry_point = "main"\n[settings]\nz = true')) == [{"z": True}]


def test_exclusions_are_partial_matches(read):
    head = 'entry_point = "main"\n[cross]\na = [1, 2, 3]\nb = [1, 2]\n'
    assert _settings(read(f"{head}[[exclude]]\na = 2\n")) == [{"a": a, "b": b} for a in (1, 3) for b in (1, 2)]
    found = _settings(read(f"{head}[[exclude]]\na = [1, 2]\nb = 2\n[[exclude]]\nb = 1\na = 3\n"))
    assert found == [{"a": 1, "b": 1}, {"a": 2, "b": 1}, {"a": 3, "b": 2}]


def test_true_is_not_1(read):
    text = 'entry_point = "main"\n[cross]\na = [1, true]\n[[exclude]]\na = true\n'
    assert _settings(read(text)) == [{"a": 1}]


def test_a_part_has_its_own_besides_what_all_have(read):
    file = read("""
entry_point = "lth"
words = ["lottery"]
settings = {s = 1, t = 2}
cross = {a = [1, 2], b = [3]}
exclude = [{a = 2}]
[[part]]
name = "first"
settings = {t = 5, b = 7}
[[part]]
words = ["branch", "train"]
cross = {a = [4, 5], s = [8, 9]}
exclude = [{s = 9, a = 5}]
""")
    runs = list(file.runs())
    assert runs[0].settings == {"s": 1, "t": 5, "b": 7, "a": 1}
    assert runs[0].words == ("lottery",) and runs[0].name == "part=first a=1"
    assert [run.settings for run in runs[1:]] == [
        {"t": 2, "a": 4, "b": 3, "s": 8},
        {"t": 2, "a": 4, "b": 3, "s": 9},
        {"t": 2, "a": 5, "b": 3, "s": 8},
    ]
    assert {run.words for run in runs[1:]} == {("branch", "train")}


def test_a_list_may_be_a_value(read):
    file = read('entry_point = "filters"\nsettings = {version = ["v1_25", "v2_25"]}\ncross = {p = [[0, 1], [1, 0]]}')
    assert [each["p"] for each in _settings(file)] == [[0, 1], [1, 0]]


def test_a_product_is_counted_without_being_made(read):
    numbers = ", ".join(map(str, range(1000)))
    text = "".join(f"{name} = [{numbers}]\n" for name in "abcdef")
    assert read(f'entry_point = "main"\n[cross]\n{text}').most_runs == 10**18


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "entry_point must be given as text"),
        ("entry_point = 3", "entry_point must be given as text.* Received: 3"),
        ("entry_point = main", "not a TOML file: .*line 1"),
        (
            'entry_point = "main"\ncros = {a = [1]}',
            "a key must be one of .*cross.* Received: 'cros'; did you mean 'cross'?",
        ),
        ('entry_point = "main"\n[[part]]\nsetting = {}', "part 1: a key must be .*; did you mean 'settings'?"),
        ('entry_point = "main"\nwords = "lottery"', "words must be a list of text"),
        ('entry_point = "main"\nsettings = 3', r"settings must be a table, below a line \[settings\]. Received: 3"),
        ('entry_point = "main"\n[cross]\na = 3', r"\[cross\] a must be a list of at least one value. Received: 3"),
        ('entry_point = "main"\n[cross]\na = []', r"\[cross\] a must be a list of at least one value. Received: \[\]"),
        (
            'entry_point = "main"\n[cross]\na = [1, 2, 1.0]',
            r"\[cross\] a must have each value once. Received twice: 1.0",
        ),
        ('entry_point = "main"\n[settings]\na = 1979-05-27', r"\[settings\] a must be text, a finite number"),
        ('entry_point = "main"\n[settings]\na = nan', r"\[settings\] a must be text, a finite number.* Received: nan"),
        ('entry_point = "main"\n[settings]\na = {b = 1}', r"\[settings\] a must be text"),
        ('entry_point = "main"\n[settings]\na = [[1]]', r"\[settings\] a must hold no lists in lists"),
        ('entry_point = "main"\n[settings]\na = 1\n[cross]\na = [2]', "a stands in .settings. and in .cross."),
        ('entry_point = "main"\nexclude = [{}]', "exclusions must be written as tables"),
        ('entry_point = "main"\npart = 3', r"parts must be written as tables, each below a line \[\[part\]\]"),
        ('entry_point = "main"\n[[part]]\nname = "a b"', "part 1: name must be a word. Received: 'a b'"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(read, text, told):
    with pytest.raises(InputError, match=f"s.toml: {told}") as error:
        read(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[cross]\na = [1, 2]\n[[exclude]]\na = [1, 2]", "there is no run: all combinations are excluded"),
        ("[cross]\na = [1, 2]\n[[exclude]]\na = 3", r"\[\[exclude\]\] a = 3 excludes no run"),
        ("[cross]\na = [1, 2]\n[[exclude]]\nb = 1", r"\[\[exclude\]\] b = 1 excludes no run"),
    ],
)
def test_what_only_the_runs_show(read, text, told):
    file = read(f'entry_point = "main"\n{text}')
    with pytest.raises(InputError, match=told):
        list(file.runs())


def test_a_common_exclusion_need_not_touch_every_part(read):
    text = 'entry_point = "main"\ncross = {a = [1, 2]}\nexclude = [{a = 2}]\n[[part]]\n[[part]]\nsettings = {a = 3}\n'
    assert _settings(read(text)) == [{"a": 1}, {"a": 3}]


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a = 1\0", None])
def test_files_that_are_none(tmp_path, content):
    path = tmp_path / "s.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read .*s.toml: "):
        SweepFile(path)


def test_nested_without_end(read):
    with pytest.raises(InputError, match=r"s.toml: not a (TOML|sweep) file"):
        read(f'entry_point = "main"\nsettings = {{a = {"[" * 5000}')
