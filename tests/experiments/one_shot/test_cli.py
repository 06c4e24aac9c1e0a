"""`python -m tfprune.main` and its companions as a person meets them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from command_lines import told_to

from tfprune.errors import InputError
from tfprune.experiments.one_shot.visualization import FigureSettings, draw

ROOT = Path(__file__).parents[3]
FLAG_FILES = sorted((ROOT / "flags").glob("*.flags"))


def _python(module, *arguments, **keywords):
    command = [sys.executable, "-m", f"tfprune.{module}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **keywords)


REFUSED = [
    (["--pruner=snipp"], "--pruner must be one of dense, lamp, snip"),
    (["--architecture=alexnet"], "--architecture must be one of lenet300100, lenet5, vgg16, vgg19, resnet18"),
    (["--target_sparsity=1"], "--target_sparsity must be a number in [0, 1)"),
    (["--save=maybe"], "0, 1, true and false are allowed"),
    (["--sampel=1"], "unknown flag --sampel; the nearest is --sample"),
    (["--pruning-type=direct"], "unknown flag --pruning-type; the nearest is --pruning_type"),
    (["--qwertz"], "unknown flag --qwertz; --help lists the flags"),
    (["--p=snip"], "--p may mean --path_to_data or --pruner or --pruning_type; write it out"),
    (["--notrain_dense=1"], "does not take an argument"),
    (["--pruner"], "Missing value for flag --pruner"),
    (["--iterations=ten"], "iterations"),
    (["run.ini"], "flags only"),
    (["--flagfile=none.flags"], "--flagfile: No such file or directory: 'none.flags'"),
    (["--flagfile=/"], "--flagfile: Is a directory: '/'"),
    ([f"--flagfile={sys.executable}"], "--flagfile must name a text file"),
    (["--data=digit"], "--data=digit: no such data set, did you mean digits"),
    (["--data=mnist", "--path_to_data=new"], "get it with: python -m tfprune.data mnist --data_dir=new"),
    (["--data=wikipedia"], "--data=wikipedia: not a set of images"),
    (["--data=tinyimagenet"], "--data=tinyimagenet needs --path_to_data"),
    (["--data=tinyimagenet", "--path_to_data=."], "--path_to_data=.: holds no tiny-imagenet-200/train"),
    (
        ["--data=digits", "--out_path=/dev/null"],
        "--out_path: cannot use the folder /dev/null/lenet300100/snip/direct",
    ),
    (["--pruner=tfmot/polynomial", "--pruning_type=effective"], "--pruning_type must be direct"),
    (["--pruner=snip", "--end_step=10"], "--end_step is for --pruner=tfmot/polynomial alone"),
    (
        ["--pruner=tfmot/polynomial", "--iterations=300", "--frequency=151"],
        "--pruner=tfmot/polynomial: frequency must lie in 1 to 150, so that masks are renewed in the first half",
    ),
    (["--pruner=lamp"], "make it with: python -m tfprune.main --pruner=dense"),
    (["--flagfile=edited.flags"], "--pruner must be one of dense"),
    (["--flagfile=nul.flags"], "no flag and no name of a file holds a NUL character"),
    (["--flagfile=no_text.flags"], "--flagfile must name a text file"),
]


@pytest.fixture(scope="module")
def refusals(light, tmp_path_factory):
    """What became of the command lines that are refused, in a process without TensorFlow."""
    place = tmp_path_factory.mktemp("refused")
    (place / "edited.flags").write_text("\ufeff--pruner=snip\r\n--sample 1\n--pruner=snipp\n", newline="")
    (place / "nul.flags").write_text("--out_path=a\0b\n")
    (place / "no_text.flags").write_bytes(b"\xff\xfe\x00\x01 no text")
    told = told_to("tfprune.experiments.one_shot.study:OneShotStudy", [words for words, _ in REFUSED], light, place)
    assert len(list(place.iterdir())) == 3
    return told


@pytest.mark.parametrize("case", range(len(REFUSED)), ids=lambda case: " ".join(REFUSED[case][0]))
def test_bad_command_lines(case, refusals, refused):
    refused(refusals[case], REFUSED[case][1])


def test_a_bad_command_line_of_a_process(tmp_path, refused, light):
    refused(_python("main", "--pruner=snipp", cwd=tmp_path, env=light), "--pruner must be one of dense, lamp, snip")
    assert not list(tmp_path.iterdir())


def test_a_run_its_repetition_a_change_and_overwrite(tmp_path, main):
    flags = ["--data=digits", "--iterations=60", "--pruner=random/igq", "--com_exp", "1.5", f"--out_path={tmp_path}"]
    result = _python("main", *flags, "--train", "0")
    assert result.returncode == 0, result.stderr
    assert "test accuracy" not in result.stdout and "cuInit" not in result.stderr
    assert result.stderr.startswith("loading TensorFlow ...\n") and result.stderr.count("loading") == 1
    run = tmp_path / "lenet300100/random/igq/direct"
    start = "0_31.6228_c98adb7e_"
    assert not (run / f"{start}accuracies.npy").exists()
    again = main(*flags, "--train=0")
    assert "nothing to do" in again.stdout and again.stderr == ""
    result = main(*flags)
    assert result.returncode == 0, result.stderr
    assert "total  50,200" in result.stdout and "test accuracy 0." in result.stdout
    assert (run / f"{start}training.png").stat().st_size > 1000
    assert (run / f"{start}densities.png").stat().st_size > 1000
    assert not list(run.glob("*checkpoint*"))
    result = main(*flags)
    assert result.returncode == 0 and "nothing to do" in result.stdout
    # Other settings are another run beside it, and starting that anew is no matter of this one.
    before = {path: path.read_bytes() for path in run.glob(f"{start}*")}
    assert "after 50 steps" in main(*flags, "--iterations=50").stdout
    assert "after 50 steps" in main(*flags, "--iterations=50", "--overwrite").stdout
    assert {path: path.read_bytes() for path in run.glob(f"{start}*")} == before
    assert len({path.name.rsplit("_", 1)[0] for path in run.glob("*_accuracies.npy")}) == 2


def test_earlier_runs_go_on_under_their_rounded_names(tmp_path, main, refused, tfds_dir):
    flags = ["--data=digits", "--iterations=60", "--pruner=random/igq", f"--out_path={tmp_path}"]
    assert main(*flags, "--train=0").returncode == 0
    run = tmp_path / "lenet300100/random/igq/direct"
    for path in run.iterdir():  # as the version before has named it
        path.rename(run / path.name.replace("0_10_c98adb7e_", "0_10_"))
    assert "the run '0_10' is finished; nothing to do" in main(*flags, "--train=0").stdout
    assert "after 60 steps" in main(*flags).stdout
    assert {path.name.split("_")[2] for path in run.iterdir()} == {
        *("accuracies.npy", "counts.npy", "densities.png", "info.log", "layers.csv", "losses.npy", "masks.npz"),
        *("result.json", "run.json", "run.lock", "sparsities", "training.png"),
    }
    result = main(*flags[:1], "--iterations=50", *flags[2:], "--train=0")
    assert result.returncode == 0 and list(run.glob("0_10_????????_masks.npz"))
    # The published settings have this name alone.
    (run / "0_10_masks.npz").write_bytes(b"of the earlier run")
    refused(main(*flags[2:], f"--path_to_data={tfds_dir}"), "--data: digits -> mnist; --iterations: 60 -> 96000")


def test_layer_collapse_is_one_plain_line(tmp_path, main):
    result = main("--data=digits", "--pruner=snip", "--com_exp=4.2", "--train=0", f"--out_path={tmp_path}")
    assert result.returncode == 0, result.stderr
    told = [line for line in result.stderr.splitlines() if "layer collapse" in line]
    assert len(told) == 1 and told[0].startswith("warning: layer collapse at sparsity 0.9999")
    assert "UserWarning" not in result.stderr and "prune(" not in result.stderr


def test_save_0_leaves_nothing_and_train_dense_helps(tmp_path, main):
    result = main("--data=digits", "--iterations=20", "--pruner=lamp", "--save", "0", "--train_dense", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "training the dense network first" in result.stderr and "files:" not in result.stdout
    assert "test accuracy 0." in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda path: path.stem)
def test_flag_files_parse(path):
    from absl import flags

    from tfprune.experiments.one_shot.settings import PUBLISHED, OneShotSettings

    words = [line[2:] for line in path.read_text().splitlines() if line and not line.startswith("#")]
    values = dict(word.split("=", 1) for word in words)
    numbers = {"iterations": int}
    spec = OneShotSettings(
        **{"architecture": "lenet5", **{name: numbers.get(name, str)(value) for name, value in values.items()}}
    )
    if "iterations" in values:
        settings = PUBLISHED[values["architecture"]]
        assert (spec.iterations, spec.data) == (settings.iterations, settings.data)
    assert flags  # absl itself reads one in test_a_flag_file


def test_a_flag_file(tmp_path, main):
    flags = [f"--flagfile={ROOT / 'flags' / name}" for name in ("lenet300100-snip.flags", "published-faults.flags")]
    result = main(*flags, "--data=digits", "--iterations=5", f"--out_path={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "lenet300100/snip/effective").glob("0_10_????????_accuracies.npy"))) == 1


@pytest.mark.slow
def test_gradual_pruning(tmp_path, main):
    flags = [f"--flagfile={ROOT / 'flags' / 'tfmot-polynomial.flags'}", "--data=digits", "--iterations=60"]
    result = main(*flags, f"--out_path={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert "lenet300100, tfmot/polynomial: 5,020 of 50,200 weights kept" in result.stderr
    assert "test accuracy 0." in result.stdout and "Warning" not in result.stderr
    run = tmp_path / "lenet300100/tfmot/polynomial/direct"
    for name in (
        "masks.npz",
        "accuracies.npy",
        "losses.npy",
        "training.png",
        "densities.png",
        "layers.csv",
        "info.log",
    ):
        assert (run / f"0_10_c98adb7e_{name}").stat().st_size > 100, name
    assert "nothing to do" in main(*flags, f"--out_path={tmp_path}").stdout


def test_help_documents_the_flags(light):
    result = _python("main", "--help", env=light)
    assert result.returncode == 0 and result.stderr == ""
    assert _python("main", "--helpfull", env=light).stdout == result.stdout
    words = "sample path_to_data save architecture pruner com_exp target_sparsity pruning_type train out_path data"
    for word in words.split():
        assert f"--{word}" in result.stdout or f"--[no]{word}" in result.stdout, word


def test_demo_takes_no_arguments(refused, light, tmp_path):
    refused(_python("demo", "x", env=light), "the demo takes no arguments")
    (tmp_path / "EffectiveSparsity").write_text("a file where a folder should be")
    refused(_python("demo", cwd=tmp_path, env=light), "the demo's figure: cannot use the folder EffectiveSparsity")


def test_demo_on_few_compressions(tmp_path, capsys):
    from tfprune.experiments.one_shot.demo import EXPONENTS, run

    assert (EXPONENTS[0], EXPONENTS[-1], len(EXPONENTS)) == (1.0, 5.0, 21)
    path = run((1.0, 2.0), tmp_path / "new" / "demo.png")
    assert path.stat().st_size > 1000
    lines = capsys.readouterr().out.splitlines()
    assert sum("direct    pruning: direct sparsity 0.9" in line for line in lines) == 2
    effective = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith("  effective pruning")]
    assert effective == pytest.approx([0.9, 0.99], abs=1e-4)


def _original_files(root, pruners=("snip", "synflow"), samples=3):
    """Files as the published code leaves them: logs beside arrays, float64, no masks, no records."""
    rng = np.random.default_rng(0)
    counts = np.array([235_200, 30_000, 1_000])
    dense = root / "lenet300100" / "dense"
    dense.mkdir(parents=True)
    np.save(dense / "counts.npy", counts)
    for sample in range(samples):
        np.save(dense / f"{sample}_1_accuracies.npy", np.array([0.1, 0.98 + 0.001 * sample]))
    for pruner in pruners:
        folder = root / "lenet300100" / pruner / "effective"
        folder.mkdir(parents=True)
        for sample in range(samples):
            for compression in (10, 100, 1000):
                kept = np.maximum(counts / compression * rng.uniform(0.9, 1, 3), 1).round()
                start = f"{sample}_{compression}_"
                np.save(folder / f"{start}sparsities_direct.npy", 1 - kept / counts)
                effective = kept if compression < 1000 or pruner != "snip" else 0 * kept
                for name in ("synflow", "custom"):
                    np.save(folder / f"{start}sparsities_effective_{name}.npy", 1 - effective / counts)
                np.save(folder / f"{start}accuracies.npy", [0.1, rng.uniform(0.5, 0.98)])
                (folder / f"{start}info.log").write_text("x")


def test_visualization_reads_files_of_the_published_code(tmp_path, light):
    _original_files(tmp_path)
    result = _python("visualization", "--out_path", tmp_path, "--pruners_to", "snip", "synflow", env=light)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "note: --pruners_to is read as --pruners_to_display\n"
    figures = tmp_path / "lenet300100" / "figures"
    assert (figures / "accuracies.png").stat().st_size > 5000
    draw(FigureSettings(out_path=str(tmp_path), effective_type="custom", plot_type="compressions"))
    assert (figures / "compressions.png").stat().st_size > 5000


def test_flags_of_the_visualization(tmp_path, command, refused):
    _original_files(tmp_path)
    root = f"--out_path={tmp_path}"
    given = ("--pruners_to_display=lamp", "--pruners_to_display=random/igq,random/erk")
    refused(command("visualization", root, *given), "no accuracies of lamp, random/igq, random/erk with --pruning_type")
    refused(command("visualization", root, "--variant=0123abcd"), "--variant must be among default. Received: '0123abc")
    refused(command("visualization", root, "--num_samples=0"), "--num_samples must be a whole number in [1, 1000]")
    assert command("visualization", root, "--variant=default").stdout.startswith(f"figure: {tmp_path}")


@pytest.mark.parametrize(
    ("pruners", "kind", "told"),
    [
        (
            ["snap"],
            "effective",
            "--pruners_to_display must be one of lamp, snip, .* Received: 'snap'; did you mean 'snip'",
        ),
        (
            ["lamp"],
            "effective",
            "no accuracies of lamp with --pruning_type=effective, samples 0, 1, 2; there are "
            r"snip effective \(samples 0, 1, 2; compressions 10, 100, 1000\); synflow effective",
        ),
        ([], "direct", "no accuracies of any pruner with --pruning_type=direct, .*; there are snip effective"),
    ],
)
def test_visualization_refuses(tmp_path, pruners, kind, told):
    _original_files(tmp_path)
    with pytest.raises(InputError, match=told):
        draw(FigureSettings(out_path=str(tmp_path), pruners_to_display=pruners, pruning_type=kind))


def test_visualization_draws_what_is_there_and_tells_what_is_not(tmp_path):
    _original_files(tmp_path, samples=2)
    root = tmp_path / "lenet300100"
    (root / "synflow/effective/1_10_accuracies.npy").unlink()
    for target in (100, 1000):
        (root / f"synflow/effective/1_{target}_accuracies.npy").unlink()
    two = FigureSettings(out_path=str(tmp_path), num_samples=2)
    with pytest.warns() as told:
        path = draw(replace(two, pruners_to_display=("snip", "lamp", "synflow")))
    assert path.stat().st_size > 5000
    assert [str(warning.message) for warning in told] == [
        f"{root}, --pruning_type=effective: no runs that were trained of lamp; the figure shows snip, synflow",
        f"{root}, --pruning_type=effective: no samples 1 of synflow: means and bands are over those that are there",
    ]
    for path in root.glob("*/effective/*_accuracies.npy"):
        path.unlink()
    with pytest.raises(InputError, match="snip, synflow were not trained, --plot_type=compressions can be drawn"):
        draw(two)
    with pytest.raises(InputError, match=r"it holds no runs; python -m tfprune\.main makes them$"):
        draw(replace(two, out_path=str(tmp_path / "new"), architecture="vgg16"))
    with pytest.raises(InputError, match=r"it holds no runs; there are some of --architecture=lenet300100$"):
        draw(replace(two, architecture="vgg16"))


def test_visualization_names_a_damaged_file(tmp_path):
    _original_files(tmp_path)
    path = tmp_path / "lenet300100/snip/effective/1_100_sparsities_direct.npy"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"1_100_sparsities_direct\.npy"):
        draw(FigureSettings(out_path=str(tmp_path), pruners_to_display=("snip",)))
