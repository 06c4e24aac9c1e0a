"""The session: what it logs and tells, and that a training goes on from anywhere as if it had never stopped."""

import keras
import numpy as np
import pytest

from tfprune.data.images import ResidentImages
from tfprune.errors import InputError
from tfprune.layers.convert import masked
from tfprune.layers.prunable import prunable
from tfprune.records.arrays import read_npz, write_npz
from tfprune.records.metric_log import MetricLog
from tfprune.records.run_folder import Layout, RunFolder
from tfprune.training.drive import Stretch, drive
from tfprune.training.feeds import Normalised, RowsFeed
from tfprune.training.loop import TrainingLoop
from tfprune.training.optimizers import WarmupMilestones, make_optimizer
from tfprune.training.samplers import EpochSampler
from tfprune.training.session import Session, _State, _take
from tfprune.training.timetable import Pauses, Timetable

LAYOUT = Layout(results=("log",), unit="level")
END = 11  # steps; an epoch has 4
TIMETABLE = Timetable(
    tests=Pauses(every=3, at=(END,)),
    checkpoints=Pauses(every=1),
    means=Pauses(every=4, at=(END,)),
    keeps=Pauses(at=(0, 2, 7)),
    each=("train_error",),
)


class Killed(Exception):
    pass


class Watch:
    """Remembers what it is shown; dies behind the steps up to `last`."""

    def __init__(self, last=END):
        self.seen, self._last = [], last

    def progress(self, progress):
        self.seen.append(progress)
        if progress.step >= self._last < END:
            raise Killed


class Training:
    """One small network that is trained again and again, by one loop."""

    def __init__(self, units=4, fail_at=None, masks=False):
        rng = np.random.default_rng(0)
        images = ResidentImages(rng.integers(0, 256, (50, 8), np.uint8), rng.integers(0, 3, 50).astype(np.int32))
        keras.utils.set_random_seed(0)
        self.model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(units), keras.layers.Dense(3)])
        if masks:
            keep = np.random.default_rng(2).random
            shapes = {path: kernel.shape for path, kernel in prunable(self.model).items()}
            self.model = masked(self.model, {path: keep(shape) < 0.5 for path, shape in shapes.items()})
        feed = RowsFeed(images, EpochSampler(50, 16, short=True), Normalised(np.zeros(8), 1 / 255))
        schedule = WarmupMilestones(0.1, [6], 0.1, warmup=3)
        self.loop = TrainingLoop(self.model, make_optimizer("adam", 0.1), feed, schedule=schedule)
        self.session, self.start = Session(self.loop, self.measured), self.model.get_weights()
        self.logs, self.dies_in_test = [], None

    def measured(self):
        """A "test" that sees every weight."""
        if self.dies_in_test == int(self.loop.optimizer.iterations):
            raise Killed
        weights = np.concatenate([array.ravel() for array in self.model.get_weights()])
        return {"test_loss": float(np.abs(weights).sum()), "test_accuracy": float(weights[7])}

    def begin(self):
        self.model.set_weights(self.start)

    def keep(self, step):
        return {f"kernel/{step}": self.model.get_weights()[0], "bias": self.model.get_weights()[1]}

    def run(self, folder, timetable=TIMETABLE, watch=None, **changed):
        self.logs = []
        how = {"stream": 5, "end": END, "keep": self.keep, "on_log": lambda log: self.logs.append(log.text())}
        return self.session.run(folder, timetable, self.begin, watch or Watch(), **how | changed)


@pytest.fixture(scope="module")
def training():
    return Training()


@pytest.fixture
def folder(tmp_path):
    with RunFolder(tmp_path, LAYOUT, "run") as made:
        yield made


def _everything(training, trained):
    """All that a training leaves, but for times."""
    states = [array.tobytes() for array in training.loop.state]
    kept = {step: {name: array.tolist() for name, array in arrays.items()} for step, arrays in trained.kept.items()}
    return trained.log.text(), kept, states


@pytest.fixture(scope="module")
def undisturbed(training, tmp_path_factory):
    """What a training leaves that is never stopped, and that writes no checkpoint."""
    with RunFolder(tmp_path_factory.mktemp("undisturbed"), LAYOUT) as folder:
        timetable = Timetable(TIMETABLE.tests, Pauses(), TIMETABLE.means, TIMETABLE.keeps, each=("train_error",))
        return _everything(training, training.run(folder, timetable))


def _killed(training, folder, timetable=TIMETABLE, last=6, **changed):
    with pytest.raises(Killed):
        training.run(folder, timetable, Watch(last), **changed)


def _change(folder, change):
    """Writes a changed checkpoint."""
    path = folder.path("checkpoint.npz")
    arrays = read_npz(path)
    change(arrays)
    write_npz(path, arrays)


def test_what_is_logged_is_what_happened(training, folder):
    log = training.run(folder).log
    training.begin()
    training.loop.reset_optimizer()
    tests, stretches = {0: training.measured()}, []
    for stretch in drive(training.loop, 5, 0, END, every=(1,)):
        stretches.append(stretch)
        tests[stretch.stop] = training.measured()
    losses, errors = (np.concatenate([one.values[f"train_{name}"] for one in stretches]) for name in ("loss", "error"))
    assert log.get("test_loss") == [(step, tests[step]["test_loss"]) for step in (0, 3, 6, 9, 11)]
    assert log.get("test_accuracy") == [(step, tests[step]["test_accuracy"]) for step in (0, 3, 6, 9, 11)]
    assert log.get("train_error") == [(step, float(error)) for step, error in enumerate(errors)]
    parts = [slice(0, 4), slice(4, 8), slice(8, 11)]
    ends = [part.stop for part in parts]
    means = [float(losses[part].mean(dtype=np.float64)) for part in parts]
    assert log.get("train_loss") == list(zip(ends, means, strict=True))
    means = [1 - float(errors[part].mean(dtype=np.float64)) for part in parts]
    assert log.get("train_accuracy") == list(zip(ends, means, strict=True))


def test_what_is_kept_is_what_was_there(training, folder):
    kept = training.run(folder).kept
    assert set(kept) == {0, 2, 7} and set(kept[2]) == {"kernel/2", "bias"}
    np.testing.assert_array_equal(kept[0]["kernel/0"], training.start[0])
    training.begin()
    training.loop.reset_optimizer()
    list(drive(training.loop, 5, 0, 2))
    np.testing.assert_array_equal(kept[2]["kernel/2"], training.model.get_weights()[0])
    assert (kept[2]["kernel/2"] != kept[7]["kernel/7"]).any()


def test_the_log_is_given_whenever_it_grows(training, folder):
    timetable = Timetable(tests=Pauses(every=5), checkpoints=Pauses())
    log = training.run(folder, timetable).log
    texts = [[line for line in log.text().splitlines() if int(line.split(",")[1]) <= step] for step in (0, 5, 10)]
    assert [text.splitlines() for text in training.logs] == texts


def test_progress_shows_what_was_asked_for(training, folder):
    session = Session(training.loop, training.measured, ("test_accuracy", "train_error", "train_loss", "other"))
    timetable = Timetable(tests=Pauses(at=(4,)), checkpoints=Pauses())
    session.run(folder, timetable, training.begin, watch := Watch(), stream=5, end=END)
    assert [(progress.step, progress.steps) for progress in watch.seen][-1] == (END, END)
    first, last = watch.seen[0].numbers, watch.seen[-1].numbers
    assert list(first) == ["train error", "train loss"]  # there was no test yet
    assert list(last) == ["test accuracy", "train error", "train loss"]
    assert last["train loss"] > 0 and watch.seen[-1].milliseconds_per_step > 0


@pytest.mark.slow_beyond(20)
@pytest.mark.parametrize("every", [1, 3, 4, 7])
@pytest.mark.parametrize("last", [1, 3, 4, 7, END - 1, 2, 5, 6, 8, 9])
def test_killed_behind_any_step(training, undisturbed, folder, every, last):
    timetable = Timetable(TIMETABLE.tests, Pauses(every=every), TIMETABLE.means, TIMETABLE.keeps, each=("train_error",))
    _killed(training, folder, timetable, last)
    assert folder.path("checkpoint.npz").exists() == (last >= every)
    watch = Watch()
    assert _everything(training, training.run(folder, timetable, watch)) == undisturbed
    assert min(progress.step for progress in watch.seen) > last // every * every
    assert training.logs[-1] == undisturbed[0]


def test_where_stretches_end_does_not_show_in_a_log_of_every_step():
    """How long they are is a matter of the machine's speed."""
    timetable = Timetable(Pauses(), Pauses(), each=("cost", "kept"))
    values = {name: np.arange(6, dtype=np.float32) + add for name, add in (("cost", 0), ("kept", 10))}
    texts = set()
    for ends in ([6], [1, 2, 6], [3, 4, 5, 6]):
        state, start = _State(0), 0
        for end in ends:
            _take(
                state, Stretch(start, end, {name: array[start:end] for name, array in values.items()}, 1.0), timetable
            )
            start = end
        texts.add(state.log.text())
    assert len(texts) == 1 and texts.pop().splitlines()[:3] == ["cost,0,0.0", "kept,0,10.0", "cost,1,1.0"]


@pytest.mark.parametrize("step", [3, 6, 9, END])
def test_killed_in_a_test(training, undisturbed, folder, step):
    training.dies_in_test = step
    with pytest.raises(Killed):
        training.run(folder)
    training.dies_in_test = None
    assert _everything(training, training.run(folder)) == undisturbed


def test_killed_again_and_again(training, undisturbed, folder):
    for last in (1, 2, 5, 8, 10):
        _killed(training, folder, last=last)
    assert _everything(training, training.run(folder)) == undisturbed


def test_killed_behind_the_end(training, undisturbed, folder):
    first = training.run(folder)
    watch = Watch()
    again = training.run(folder, watch=watch)
    assert _everything(training, again) == undisturbed
    assert not watch.seen and again.milliseconds_per_step == 0.0 and training.logs == [undisturbed[0]]
    assert again.seconds >= first.seconds * 0.5  # those of the first start


def test_a_training_that_starts_late(training, folder, tmp_path):
    timetable = Timetable(Pauses(every=4, first=4), Pauses(every=2), Pauses(every=4), each=("train_error",))
    whole = _everything(training, training.run(folder, timetable, start=2))
    log = MetricLog.parse(whole[0])
    assert [step for step, _ in log.get("test_loss")] == [4, 8]
    assert [step for step, _ in log.get("train_error")] == list(range(2, END))
    with RunFolder(tmp_path / "killed", LAYOUT) as other:
        _killed(training, other, timetable, last=5, start=2)
        assert _everything(training, training.run(other, timetable, start=2)) == whole


def test_no_steps_are_no_training(training, folder):
    trained = training.run(folder, end=0)
    assert trained.log.get("test_loss") == [(0, training.measured()["test_loss"])] and set(trained.kept) == {0}
    assert not folder.path("checkpoint.npz").exists()


def test_the_stream_tells_trainings_apart(training, undisturbed, folder):
    _killed(training, folder, stream=6)
    watch = Watch()
    assert _everything(training, training.run(folder, watch=watch)) == undisturbed
    assert watch.seen[0].step == 1  # from its start
    watch = Watch()
    training.run(folder, watch=watch)
    assert not watch.seen
    _change(folder, lambda arrays: arrays.pop("stream"))  # as earlier versions wrote it
    with pytest.raises(InputError, match="not a checkpoint of this network, or one of another version"):
        training.run(folder)


def test_checkpoints_of_other_names(training, folder):
    _killed(training, folder, checkpoint="one")
    assert folder.path("one.npz").exists() and not folder.path("checkpoint.npz").exists()
    training.run(folder, watch=(watch := Watch()), checkpoint="two")
    assert watch.seen[0].step == 1
    training.run(folder, watch=(watch := Watch()), checkpoint="one")
    assert watch.seen[0].step > 6


def _refused(training, folder, told="not a checkpoint of this network, or one of another version; delete it to redo"):
    """The checkpoint is refused in one line, and the model left as it begins."""
    with pytest.raises(InputError) as error:
        training.run(folder)
    assert "run_checkpoint.npz: " in str(error.value) and told in str(error.value) and "\n" not in str(error.value)
    assert str(error.value).endswith("redo the level")
    for old, new in zip(training.start, training.model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert int(training.loop.optimizer.iterations) == 0


def test_a_checkpoint_of_float_masks(folder):
    """Masks were float32 variables; a training that was stopped then goes on to the same numbers."""
    training = Training(masks=True)
    whole = _everything(training, training.run(folder, checkpoint="whole"))
    _killed(training, folder)

    def change(arrays):
        masks = {name: array for name, array in arrays.items() if name.startswith("state_") and array.dtype == bool}
        assert len(masks) == 2
        arrays |= {name: array.astype(np.float32) for name, array in masks.items()}

    _change(folder, change)
    resumed = training.run(folder, watch=(watch := Watch()))
    assert watch.seen[0].step > 6
    assert _everything(training, resumed) == whole


def test_a_checkpoint_of_another_network(training, folder):
    _killed(Training(units=5), folder)
    _refused(training, folder)


@pytest.mark.parametrize("size", [0, 100, -1])
def test_a_checkpoint_that_is_cut_off(training, folder, size):
    _killed(training, folder)
    path = folder.path("checkpoint.npz")
    path.write_bytes(path.read_bytes()[:size])
    _refused(training, folder, "not a checkpoint, or a damaged one")


def test_a_checkpoint_that_lacks_an_array(training, folder):
    _killed(training, folder)
    path = folder.path("checkpoint.npz")
    whole = path.read_bytes()
    names = [name for name in read_npz(path) if not name.startswith("kept_")]
    assert {"step", "seconds", "log_values", "recent_losses", "state_0"} <= set(names)
    for name in names:
        path.write_bytes(whole)
        _change(folder, lambda arrays, name=name: arrays.pop(name))
        _refused(training, folder)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("step", np.array(0)),
        ("step", np.array(7)),
        ("step", np.array(END + 1)),
        ("step", np.arange(2)),
        ("seconds", np.zeros(2)),
        ("log_names", np.zeros(3, np.uint8)),
        ("log_metrics", np.full(20, 99, np.int32)),
        ("log_values", np.zeros(2)),
        ("log_iterations", np.zeros((2, 2), np.int64)),
        ("state_0", np.zeros((8, 4), np.float64)),
        ("state_0", np.zeros((4, 8), np.float32)),
    ],
)
def test_a_checkpoint_with_a_wrong_array(training, folder, name, array):
    _killed(training, folder)
    _change(folder, lambda arrays: arrays.update({name: array}))
    _refused(training, folder)


@pytest.mark.parametrize(
    "lost",
    [
        lambda name, step: True,
        lambda name, step: name.startswith("test") and step == 0,
        lambda name, step: name.startswith("test") and step == 3,
        lambda name, step: name.startswith("test") and step == 6,
        lambda name, step: name == "test_accuracy" and step == 3,
        lambda name, step: name.startswith("test"),
        lambda name, step: name == "train_error" and step == 5,
        lambda name, step: name == "train_error",
        lambda name, step: name == "train_loss",
        lambda name, step: name == "train_accuracy",
    ],
)
def test_a_log_that_lacks_what_the_checkpoint_has_seen(training, folder, lost):
    _killed(training, folder)

    def lose(arrays):
        log, left = MetricLog.from_arrays({name: arrays[f"log_{name}"] for name in _COLUMNS}), MetricLog()
        for name in log.names:
            for step, value in log.get(name):
                if not lost(name, step):
                    left.add(name, step, value)
        assert len(left) < len(log)
        arrays.update({f"log_{name}": array for name, array in left.arrays().items()})

    _change(folder, lose)
    _refused(training, folder)


_COLUMNS = ("names", "metrics", "iterations", "values")


def test_a_checkpoint_of_a_longer_training_is_not_one_of_this(training, folder):
    _killed(training, folder, last=8)
    with pytest.raises(InputError, match="not a checkpoint of this network"):
        training.run(folder, end=6)


def test_a_loss_that_is_not_finite_is_told(training, folder):
    def begin():
        training.model.set_weights([np.full_like(array, np.nan) for array in training.start])

    with pytest.raises(InputError, match=r"^level 3 diverged at step 0$"):
        training.session.run(
            folder, TIMETABLE, begin, Watch(), stream=5, end=END, diverged="level 3 diverged at step {step}"
        )


def test_who_is_to_blame(training, folder, monkeypatch):
    def blame(error, stream, step):
        return InputError(f"{error}: stream {stream}, step {step}")

    session = Session(training.loop, training.measured, blame=blame)
    usual = training.loop.run

    def fails(start, stop, stream=0):
        if start >= 5:
            raise OSError("an image is damaged")
        return usual(start, min(stop, 5), stream)

    monkeypatch.setattr(training.loop, "run", fails)
    with pytest.raises(InputError, match=r"^an image is damaged: stream 5, step 5$"):
        session.run(folder, TIMETABLE, training.begin, Watch(), stream=5, end=END)
    with pytest.raises(OSError, match="an image is damaged"):
        training.run(folder)


@pytest.mark.parametrize(
    "pauses",
    [
        Pauses(),
        Pauses(every=3),
        Pauses(every=3, first=4),
        Pauses(every=1, last=5),
        Pauses(at=(2, 3, 11)),
        Pauses(every=4, at=(5, 8), first=1, last=9),
        Pauses(at=(0, 20), first=1, last=19),
    ],
)
def test_pauses(pauses):
    def is_one(step):
        if step < pauses.first or (pauses.last is not None and step > pauses.last):
            return False
        return step in pauses.at or (pauses.every is not None and step % pauses.every == 0)

    assert [step for step in range(30) if step in pauses] == [step for step in range(30) if is_one(step)]
    for start in range(12):
        for stop in range(12):
            assert pauses.until(start, stop) == [step for step in range(start, stop + 1) if is_one(step)]


def test_no_pause_is_every_0():
    assert 0 not in Pauses() and 0 in Pauses(every=5) and 0 in Pauses(at=(0,)) and 0 not in Pauses(every=5, first=1)
