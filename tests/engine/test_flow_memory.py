"""Where images lie and when their lines are made: by hand, by going through all jobs, and by the outputs."""

from dataclasses import replace

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from tfprune.engine import flow_memory  # noqa: E402
from tfprune.engine.flow import Flow  # noqa: E402
from tfprune.engine.flow_memory import Memory  # noqa: E402
from tfprune.engine.geometry import Geometry  # noqa: E402
from tfprune.engine.steps import Kept, Pool, Product, Scale, Step, Sum, View  # noqa: E402


@pytest.fixture
def small_images_in_turn(monkeypatch):
    monkeypatch.setattr(flow_memory, "_LARGE", 0)


def _convolution(number, height, width, channels, made, shape=(3, 3), strides=(1, 1), padding="same", dilation=(1, 1)):
    geometry = Geometry.convolution(
        (*shape, channels, made), (height, width, channels), strides=strides, padding=padding, dilation=dilation
    )
    return Product.of(View(number, height, width), geometry)


def test_a_pool_takes_two_lines_at_a_time(small_images_in_turn):
    product = _convolution(0, 6, 8, 1, 2)
    pool = Pool((View(1, 6, 8),), 3, 4, 2, window=(2, 2), strides=(2, 2), is_mean=False)
    memory = Memory((6, 8, 1), [product, pool], [5, 0])
    assert memory.passed == {1: 2} and not memory.rings
    assert memory.order.tolist() == [
        *([1, 0, 2, 0, 0], [2, 0, 1, 0, 0]),
        *([1, 2, 4, 0, 2], [2, 1, 2, 2, 0]),
        *([1, 4, 6, 0, 4], [2, 2, 3, 4, 0]),
    ]
    # 8 × 10 positions with the border of zeros, two lines of 2 channels of 9 (odd), and 3 lines of 2 channels of 5.
    assert [place.size for place in memory.places] == [8 * 11 * 16, 2 * 2 * 9 * 16, 3 * 2 * 5 * 16]


def test_a_ring_of_lines_between_two_convolutions(small_images_in_turn):
    steps = [_convolution(0, 8, 8, 1, 2), _convolution(1, 8, 8, 2, 3)]
    memory = Memory((8, 8, 1), steps, [5, 5])
    assert memory.rings == {1: 3} and not memory.passed
    assert memory.order[:8, :3].tolist() == [
        [1, 0, 1], [1, 1, 2], [2, 0, 1], [1, 2, 3], [2, 1, 2], [1, 3, 4], [2, 2, 3], [1, 4, 5],
    ]  # fmt: skip
    assert [job[4] for job in memory.order.tolist() if job[0] == 1] == [0, 0, 0, 3, 3, 3, 6, 6]


@pytest.mark.parametrize(
    "kept, turns", [([5, 6], [[1, 2]]), ([5, 7], [[1], [2]]), ([5, 0], [[1, 2]]), ([12, 1], [[1], [2]])]
)
def test_many_weights_are_not_read_in_turn(monkeypatch, kept, turns):
    monkeypatch.setattr(flow_memory, "_FEW", 11)
    monkeypatch.setattr(flow_memory, "_LARGE", 8 * 8 * 2 * 16)
    steps = [_convolution(0, 8, 8, 1, 2), _convolution(1, 8, 8, 2, 3)]
    assert Memory((8, 8, 1), steps, kept)._turns == turns
    monkeypatch.setattr(flow_memory, "_LARGE", 8 * 8 * 2 * 16 + 1)
    assert Memory((8, 8, 1), steps, kept)._turns == [[1], [2]]


def _random_steps(rng) -> tuple[tuple[int, int, int], list[Step]]:
    image = shape = int(rng.integers(1, 14)), int(rng.integers(1, 20)), int(rng.integers(1, 4))
    shapes, steps = [image], []
    for number in range(int(rng.integers(2, 9))):
        at = number if rng.random() < 0.85 else int(rng.integers(0, number + 1))
        height, width, channels = shapes[at]
        kind, (down, right), padding = (
            rng.integers(0, 10),
            rng.integers(1, 4, 2).tolist(),
            rng.choice(["same", "valid"]),
        )
        top, bottom = (int(rng.integers(0, 3)), int(rng.integers(0, 3))) if rng.random() < 0.2 else (0, 0)
        alike = [other for other, one in enumerate(shapes) if one == shapes[at] and other != at]
        if kind < 6:
            size = (int(rng.integers(1, min(4, height + top + bottom) + 1)), int(rng.integers(1, min(4, width) + 1)))
            one = rng.random() < 0.5
            strides, dilation = (
                ((1, 1), (down, right)) if one and padding == "same" else ((down, min(2, right)), (1, 1))
            )
            given = height + top + bottom, width, channels
            geometry = Geometry.convolution(
                (*size, channels, int(rng.integers(1, 5))), given, strides=strides, padding=padding, dilation=dilation
            )
            step = Product.of(View(at, height + top + bottom, width, top), geometry)
        elif kind < 8:
            window, strides = (down, right), (down, right) if rng.random() < 0.7 else (min(2, down), 1)
            made = tuple(-(-one // by) for one, by in zip((height, width), strides, strict=True))
            step = Pool(
                (View(at, height, width),),
                *made,
                channels,
                window=window,
                strides=strides,
                is_mean=bool(rng.integers(2)),
            )
        elif alike and kind == 8:
            views = [View(at, height, width), View(int(rng.choice(alike)), height, width)]
            step = Sum(tuple(views[:: int(rng.choice([1, -1]))]), height, width, channels)
        else:
            step = Scale((View(at, height, width),), height, width, channels)
        steps.append(step)
        shapes.append((step.height, step.width, step.channels))
    return shape, steps


def _line_read(step: Step, view: View, height: int, line: int) -> set[int]:
    """Lines of an image that a line is made of, by the definition of each step."""
    if isinstance(step, Product):
        geometry = step.geometry
        found = {line * geometry.strides[0] - geometry.top + k * geometry.dilation[0] for k in range(geometry.shape[0])}
    elif isinstance(step, Pool):
        found = {line * step.strides[0] - step.before[0] + k for k in range(step.window[0])}
    else:
        found = {line}
    return {one - view.top for one in found} & set(range(height))


def test_every_line_lies_where_it_is_read_when_it_is_read(small_images_in_turn):
    """Goes through the jobs with a memory that holds which line of which image was written last where."""
    rings = passed = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        image, steps = _random_steps(rng)
        memory = Memory(image, steps, [int(rng.integers(1, 9000)) * isinstance(step, Product) for step in steps])
        rings, passed = rings + len(memory.rings), passed + len(memory.passed)
        shapes = [image, *((step.height, step.width, step.channels) for step in steps)]
        there = np.full((memory.size // 16, 2), -1)

        def lies(number, line, moved=0, memory=memory):
            place = memory.places[number]
            first = (place.base + (place.top + line - moved) * place.line) // 16
            assert place.base // 16 <= first and first + place.line // 16 <= (place.base + place.size) // 16
            return slice(first, first + place.line // 16)

        for line in range(image[0]):
            there[lies(0, line)] = 0, line
        done = [image[0], *(0 for _ in steps)]
        for number, begin, end, given, moved in memory.order.tolist():
            step = steps[number - 1]
            assert begin == done[number] < end <= step.height
            for line in range(begin, end):
                for view in step.given:
                    height = shapes[view.number][0]
                    for read in _line_read(step, view, height, line):
                        back = given if view.number in memory.passed else 0
                        ring = memory.rings.get(view.number)
                        back = read // ring * ring if ring else back
                        assert (there[lies(view.number, read, back)] == (view.number, read)).all()
                there[lies(number, line, moved)] = number, line
            done[number] = end
        for number, (height, _, _) in enumerate(shapes):
            if number not in memory.passed and number not in memory.rings:
                assert done[number] == height
    assert rings > 50 and passed > 50


def _kept(rng, geometry):
    kernel = rng.normal(size=geometry.size) * (rng.random(geometry.size) < 0.7)
    indices = np.flatnonzero(kernel)
    return Kept(indices, kernel[indices].astype(np.float32), rng.normal(size=geometry.out_channels).astype(np.float32))


@pytest.mark.parametrize("seed", range(40))
def test_the_same_bytes_in_turn_and_one_after_the_other(small_images_in_turn, monkeypatch, seed):
    rng = np.random.default_rng(seed)
    image, steps = _random_steps(rng)
    if seed % 2:  # each channel is a group; sums are limited after the last one
        monkeypatch.setattr("tfprune.engine.flow._NEAR", 1)
        monkeypatch.setattr("tfprune.engine.flow._LEAST", 0)
        steps = [step if isinstance(step, Pool) else replace(step, floor=-1.0, ceiling=2.0) for step in steps]
    weights = [
        _kept(rng, step.geometry)
        if isinstance(step, Product)
        else tuple(rng.normal(size=(2, step.channels)).astype(np.float32))
        if isinstance(step, Scale)
        else None
        for step in steps
    ]
    flow = Flow(image, steps)
    flow.set_weights(weights)
    images = rng.normal(size=(37, *image)).astype(np.float32)
    numba.set_num_threads(1)  # a block is one thread's
    in_turn = flow.outputs(images)
    flow._alone, flow._tables[0] = flow._shared, flow._tables[1]
    assert flow.outputs(images).tobytes() == in_turn.tobytes()
    assert np.isfinite(in_turn).all() and np.abs(in_turn).max() > 0
