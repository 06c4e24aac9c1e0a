"""`python -m tfprune.main` and its companions as a person meets them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tfprune.cli.one_shot_figures import draw
from tfprune.errors import InputError

ROOT = Path(__file__).parents[2]
FLAG_FILES = sorted((ROOT / "flags").glob("*.flags"))


def _python(module, *arguments, **keywords):
    command = [sys.executable, "-m", f"tfprune.{module}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, **keywords)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--pruner=snipp"], "--pruner must be one of dense, lamp, snip"),
        (["--architecture=alexnet"], "--architecture must be one of lenet300100, lenet5, vgg16, vgg19, resnet18"),
        (["--target_sparsity=1"], "--target_sparsity must lie in [0, 1)"),
        (["--save=maybe"], "0, 1, true and false are allowed"),
        (["--sampel=1"], "Unknown command line flag 'sampel'"),
        (["--iterations=ten"], "iterations"),
        (["run.ini"], "flags only"),
        (["--flagfile=none.flags"], "none.flags"),
        (["--pruner=tfmot/polynomial", "--pruning_type=effective"], "--pruning_type must be direct"),
        (["--pruner=snip", "--end_step=10"], "--end_step is for --pruner=tfmot/polynomial alone"),
        (["--pruner=lamp"], "make it with: python -m tfprune.main --pruner=dense"),
    ],
)
def test_bad_command_lines(arguments, told, tmp_path, refused):
    refused(_python("main", *arguments, cwd=tmp_path, env=_environment()), told)
    assert not list(tmp_path.iterdir())


def _environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--data=digit"], "--data=digit: no such data set, did you mean digits"),
        (["--data=tinyimagenet"], "--data=tinyimagenet needs --path_to_data"),
    ],
)
def test_bad_data(arguments, told, tmp_path, refused):
    refused(_python("main", *arguments, f"--out_path={tmp_path}"), told)


def test_a_run_its_repetition_a_change_and_overwrite(tmp_path, refused):
    flags = ["--data=digits", "--iterations=60", "--pruner=random/igq", "--com_exp", "1.5", f"--out_path={tmp_path}"]
    result = _python("main", *flags, "--train", "0")
    assert result.returncode == 0, result.stderr
    assert "test accuracy" not in result.stdout and "cuInit" not in result.stderr
    run = tmp_path / "lenet300100/random/igq/direct"
    assert not (run / "0_32_accuracies.npy").exists()
    assert "nothing to do" in _python("main", *flags, "--train=0").stdout
    result = _python("main", *flags)
    assert result.returncode == 0, result.stderr
    assert "total  50,200" in result.stdout and "test accuracy 0." in result.stdout
    assert (run / "0_32_training.png").stat().st_size > 1000
    assert (run / "0_32_densities.png").stat().st_size > 1000
    result = _python("main", *flags)
    assert result.returncode == 0 and "nothing to do" in result.stdout
    refused(_python("main", *flags, "--iterations=50"), "--iterations: 60 -> 50")
    result = _python("main", *flags, "--iterations=50", "--overwrite")
    assert "after 50 steps" in result.stdout


def test_layer_collapse_is_one_plain_line(tmp_path):
    flags = ["--data=digits", "--pruner=snip", "--com_exp=4.2", "--train=0", f"--out_path={tmp_path}"]
    result = _python("main", *flags)
    assert result.returncode == 0, result.stderr
    told = [line for line in result.stderr.splitlines() if "layer collapse" in line]
    assert len(told) == 1 and told[0].startswith("warning: layer collapse at sparsity 0.9999")
    assert "UserWarning" not in result.stderr and "prune(" not in result.stderr


def test_save_0_leaves_nothing_and_train_dense_helps(tmp_path):
    flags = ["--data=digits", "--iterations=20", "--pruner=lamp", "--save", "0", "--train_dense"]
    result = _python("main", *flags, cwd=tmp_path, env=_environment())
    assert result.returncode == 0, result.stderr
    assert "training the dense network first" in result.stderr and "files:" not in result.stdout
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("path", FLAG_FILES, ids=lambda path: path.stem)
def test_flag_files_parse(path):
    from absl import flags

    from tfprune.experiments.one_shot_spec import SETTINGS, OneShotSpec

    words = [line[2:] for line in path.read_text().splitlines() if line and not line.startswith("#")]
    values = dict(word.split("=", 1) for word in words)
    numbers = {"iterations": int}
    spec = OneShotSpec(
        **{"architecture": "lenet5", **{name: numbers.get(name, str)(value) for name, value in values.items()}}
    )
    if "iterations" in values:
        settings = SETTINGS[values["architecture"]]
        assert (spec.iterations, spec.data) == (settings.iterations, settings.data)
    assert flags  # absl itself reads one in test_a_flag_file


def test_a_flag_file(tmp_path):
    flags = [f"--flagfile={ROOT / 'flags' / name}" for name in ("lenet300100-snip.flags", "published-faults.flags")]
    result = _python("main", *flags, "--data=digits", "--iterations=5", f"--out_path={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "lenet300100/snip/effective/0_10_accuracies.npy").exists()


def test_gradual_pruning(tmp_path):
    flags = [f"--flagfile={ROOT / 'flags' / 'tfmot-polynomial.flags'}", "--data=digits", "--iterations=60"]
    result = _python("main", *flags, f"--out_path={tmp_path}")
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
        assert (run / f"0_10_{name}").stat().st_size > 100, name
    assert "nothing to do" in _python("main", *flags, f"--out_path={tmp_path}").stdout


def test_help_documents_the_flags():
    result = _python("main", "--help")
    assert result.returncode == 0
    words = "sample path_to_data save architecture pruner com_exp target_sparsity pruning_type train out_path data"
    for word in words.split():
        assert f"--{word}" in result.stdout or f"--[no]{word}" in result.stdout, word


def test_demo_takes_no_arguments(refused):
    refused(_python("demo", "x"), "the demo takes no arguments")


def test_demo_on_few_compressions(tmp_path, capsys):
    from tfprune.cli.one_shot_demo import EXPONENTS, run

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


def test_visualization_reads_files_of_the_published_code(tmp_path):
    _original_files(tmp_path)
    result = _python("visualization", "--out_path", tmp_path, "--pruners_to_display", "snip", "synflow")
    assert result.returncode == 0, result.stderr
    figures = tmp_path / "lenet300100" / "figures"
    assert (figures / "accuracies.png").stat().st_size > 5000
    draw(str(tmp_path), "lenet300100", [], 3, "effective", "custom", "compressions")
    assert (figures / "compressions.png").stat().st_size > 5000


@pytest.mark.parametrize(
    ("pruners", "kind", "told"),
    [
        (["snap"], "effective", "--pruners_to_display must be among lamp, snip"),
        (
            ["lamp"],
            "effective",
            "no runs of lamp with --pruning_type=effective; there are lenet300100/snip/effective, ",
        ),
        ([], "direct", "no runs with --pruning_type=direct; there are .*, lenet300100/synflow/effective"),
    ],
)
def test_visualization_refuses(tmp_path, pruners, kind, told):
    _original_files(tmp_path)
    with pytest.raises(InputError, match=told):
        draw(str(tmp_path), "lenet300100", pruners, 3, kind, "synflow", "accuracies")


def test_visualization_of_an_empty_folder_says_what_makes_runs(tmp_path):
    with pytest.raises(InputError, match=r"holds none at all, python -m tfprune\.main makes them"):
        draw(str(tmp_path), "lenet300100", [], 3, "direct", "synflow", "accuracies")


def test_visualization_names_a_damaged_file(tmp_path):
    _original_files(tmp_path)
    path = tmp_path / "lenet300100/snip/effective/1_100_sparsities_direct.npy"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match=r"1_100_sparsities_direct\.npy"):
        draw(str(tmp_path), "lenet300100", ["snip"], 3, "effective", "synflow", "accuracies")
