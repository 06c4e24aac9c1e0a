"""The Masks value, and masks in files."""

import keras
import numpy as np
import pytest
from keras import layers as L

from tfprune.errors import InputError
from tfprune.layers.masks import Masks, load_masks, save_masks


@pytest.fixture
def masks():
    return Masks({"b/kernel": np.eye(3, dtype=bool), "a/kernel": np.array([[1, 0, 0, 1]])})


@pytest.fixture
def model():
    return keras.Sequential([keras.Input((3,)), L.Dense(3, name="b"), L.Dense(4, name="a")])


def test_counts_and_densities(masks):
    assert list(masks) == ["b/kernel", "a/kernel"]
    assert (masks.size, masks.kept) == (13, 5)
    assert masks.density == 5 / 13
    assert masks.sparsity == 1 - 5 / 13
    assert masks.counts == {"b/kernel": 3, "a/kernel": 2}
    assert masks.densities == {"b/kernel": 1 / 3, "a/kernel": 0.5}
    assert masks.sparsities["a/kernel"] == 0.5
    assert "5 of 13" in repr(masks)
    assert Masks({}).density == 1


def test_immutable():
    array = np.ones((2, 2), bool)
    masks = Masks({"a/kernel": array})
    array[0, 0] = False
    assert masks["a/kernel"].all()
    with pytest.raises(ValueError, match="read-only"):
        masks["a/kernel"][0, 0] = False
    with pytest.raises(TypeError):
        masks["a/kernel"] = array
    with pytest.raises(AttributeError):
        masks.other = 1


def test_equality_is_of_paths_order_shape_and_bits(masks):
    assert masks == Masks(dict(masks))
    assert masks != Masks({path: masks[path] for path in reversed(list(masks))})
    assert masks != Masks({**masks, "a/kernel": [[1, 0, 1, 1]]})
    assert masks != Masks({**masks, "a/kernel": [1, 0, 0, 1]})
    assert masks != dict(masks)


def test_intersection(masks):
    other = Masks({"b/kernel": np.ones((3, 3)), "a/kernel": [[1, 1, 0, 0]]})
    assert (masks & other).counts == {"b/kernel": 3, "a/kernel": 1}
    with pytest.raises(InputError, match="same paths and shapes"):
        masks & Masks({"b/kernel": np.ones((3, 3))})


@pytest.mark.parametrize("wrong", [[0, 2], [0.5, 1.0], [np.nan, 1.0], ["a", "b"], [None, True]])
def test_only_zeros_and_ones(wrong):
    with pytest.raises(InputError, match="'a/kernel' must hold only 0 and 1"):
        Masks({"a/kernel": np.array(wrong)})


@pytest.mark.parametrize("wrong", [5, None, "masks.npz", [np.ones(3)], np.ones(3)])
def test_other_things_than_mappings(wrong):
    with pytest.raises(InputError, match=f"masks must be a mapping .* Received: {type(wrong).__name__}$"):
        Masks(wrong)


def test_rows_of_different_lengths():
    with pytest.raises(InputError, match="'a/kernel' must be an array"):
        Masks({"a/kernel": [[1, 0], [1]]})


def test_saving_takes_both_orders(masks, tmp_path):
    save_masks(masks, tmp_path / "one.npz")
    save_masks(str(tmp_path / "two.npz"), dict(masks))
    assert load_masks(tmp_path / "one.npz") == load_masks(tmp_path / "two.npz") == masks
    with pytest.raises(InputError, match="Received: int for the path"):
        save_masks(5, masks)
    with pytest.raises(InputError, match="masks must be a mapping"):
        save_masks(tmp_path / "three.npz", None)


def test_check_against_a_model(model):
    dense = Masks.dense(model)
    assert dense.density == 1
    assert dense.check(model) is dense
    turned = Masks({path: dense[path] for path in reversed(list(dense))})
    assert list(turned.check(model)) == ["b/kernel", "a/kernel"]
    with pytest.raises(InputError, match=r"'b/kernel' has shape \(3, 2\), the kernel has \(3, 3\)"):
        Masks({**dense, "b/kernel": np.ones((3, 2))}).check(model)
    with pytest.raises(InputError, match=r"'a/kernel' .* has no mask"):
        Masks({"b/kernel": np.ones((3, 3))}).check(model)
    with pytest.raises(InputError, match=r"'c/kernel': .* no such kernel; it has 'b/kernel', 'a/kernel'"):
        Masks({**dense, "c/kernel": np.ones((3, 3))}).check(model)


def test_file_keeps_order_shapes_and_bits(masks, tmp_path):
    odd = Masks({**masks, "scalar": np.array(True), "empty/kernel": np.zeros((0, 3)), "ü/kernel": np.ones((2, 3, 4))})
    for value in (masks, odd, Masks({})):
        save_masks(tmp_path / "masks.npz", value)
        loaded = load_masks(tmp_path / "masks.npz")
        assert loaded == value
        assert list(loaded) == list(value)
    first = (tmp_path / "masks.npz").read_bytes()
    save_masks(tmp_path / "masks.npz", Masks({}))
    assert (tmp_path / "masks.npz").read_bytes() == first


def test_one_bit_per_weight(tmp_path):
    save_masks(tmp_path / "masks.npz", Masks({"a/kernel": np.ones((1000, 1000))}))
    assert (tmp_path / "masks.npz").stat().st_size < 1000 * 1000 / 8 + 2000


def test_a_failed_write_leaves_the_old_file(masks, tmp_path, monkeypatch):
    save_masks(tmp_path / "masks.npz", masks)

    def broken(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(InputError, match="No space left"):
        save_masks(tmp_path / "masks.npz", Masks({}))
    assert load_masks(tmp_path / "masks.npz") == masks
    assert len(list(tmp_path.iterdir())) == 1


class TestBadFiles:
    def _refused(self, path, match="mask file"):
        with pytest.raises(InputError, match=match) as caught:
            load_masks(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_missing(self, tmp_path):
        self._refused(tmp_path / "none.npz", "No such file")

    @pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04", b"\x93NUMPY", b"\x80\x04]\x94."])
    def test_foreign(self, tmp_path, content):
        (tmp_path / "x.npz").write_bytes(content)
        self._refused(tmp_path / "x.npz")

    def test_a_folder(self, tmp_path):
        self._refused(tmp_path, "directory")

    def test_every_truncation_and_flipped_bits(self, masks, tmp_path):
        path = tmp_path / "masks.npz"
        save_masks(path, masks)
        whole = path.read_bytes()
        for length in range(0, len(whole), 37):
            path.write_bytes(whole[:length])
            self._refused(path)
        refused = 0
        for place in range(0, len(whole), 7):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
            try:
                assert load_masks(path) == masks  # a field that nobody reads, such as a date
            except InputError:
                refused += 1
        assert refused > 50

    def test_pickles_are_not_executed(self, tmp_path):
        path = tmp_path / "x.npz"
        masks = np.array([{"a": 1}], dtype=object)
        np.savez(path, tfprune_masks=masks, paths=masks, shapes=masks, bits=masks)
        self._refused(path)

    @pytest.mark.parametrize(
        "change",
        [
            {"tfprune_masks": np.int64(2)},
            {"tfprune_masks": np.ones(3)},
            {"paths": np.array(["a", "a"])},
            {"paths": np.array([1, 2])},
            {"shapes": np.array([[3, 3]])},
            {"shapes": np.array([[3, 3], [-5, 4]])},
            {"shapes": np.array([[2**40, 2**40], [1, 4]])},
            {"shapes": np.array([[3.0, 3.0], [1.0, 4.0]])},
            {"bits": np.zeros(1, np.uint8)},
            {"bits": np.zeros(9, np.uint8)},
            {"bits": np.zeros((1, 2), np.uint8)},
            {"bits": np.zeros(2, np.int64)},
        ],
    )
    def test_fields_that_do_not_fit(self, masks, tmp_path, change):
        path = tmp_path / "x.npz"
        save_masks(path, masks)
        with np.load(path) as file:
            content = dict(file)
        np.savez(path, **{**content, **change})
        self._refused(path)

    def test_a_missing_field_and_a_bare_array(self, masks, tmp_path):
        path = tmp_path / "x.npz"
        np.savez(path, paths=np.array(["a"]))
        self._refused(path)
        with path.open("wb") as file:
            np.save(file, np.ones(3))
        self._refused(path)
