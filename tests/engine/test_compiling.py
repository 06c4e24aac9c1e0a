"""Compiled kernels: kept between processes, announced while they are made, and named where Numba is absent."""

import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import numba.core.caching
import numpy as np
import pytest

import tfprune.engine.compiling
from tfprune.engine.choice import check_engine
from tfprune.engine.compiling import has_engine, keeps_compiled, kernels, require_engine
from tfprune.errors import InputError
from tfprune.layers.kept_layers import SparseDense
from tfprune.training.engine import engine_of

ENGINE = Path(tfprune.engine.compiling.__file__).parent


def test_without_a_place_for_compiled_kernels(monkeypatch, capsys):
    assert keeps_compiled()
    tfprune.engine.compiling._tell(keeps_compiled())
    assert capsys.readouterr().err == "tfprune: compiling the sparse engine for this machine, once ...\n"
    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    assert not keeps_compiled()
    tfprune.engine.compiling._tell(keeps_compiled())
    assert "in each process" in (said := capsys.readouterr().err) and "NUMBA_CACHE_DIR" in said


def test_kernels_are_compiled_anew_with_their_parts():
    """Numba looks at the file that a kernel is in alone, and what it compiled stays where a package is replaced."""
    parts = "flow_steps", "lanes", "normalized_rows", "tiles", "vectors"
    given = dict.fromkeys(("kernels", "normalized_kernels", "flow_kernels"), parts)
    given["normalized_steps"] = "normalized_kernels", "updates"  # after the other ones
    for name, parts in given.items():
        digest = hashlib.sha256(b"".join((ENGINE / f"{part}.py").read_bytes() for part in parts)).hexdigest()[:12]
        assert f"test_compiling.py: {digest}" in (ENGINE / f"{name}.py").read_text(), f"{name}.py: write {digest}"


@pytest.mark.parametrize("said", [None, "7"])
def test_threads_do_not_wait_in_a_loop_for_long_unless_told_to(monkeypatch, said):
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if said:
        monkeypatch.setenv("GOMP_SPINCOUNT", said)
    require_engine()
    assert os.environ["GOMP_SPINCOUNT"] == (said or "1000")


def test_without_numba(monkeypatch):
    assert has_engine()
    monkeypatch.setitem(sys.modules, "numba", None)
    assert not has_engine()
    with pytest.raises(InputError) as error:
        kernels.__wrapped__()
    assert str(error.value) == (
        "the sparse engine: the package numba is missing; pip install 'tfprune[sparse]' brings it"
    )


def test_numba_that_cannot_be_loaded_is_told(monkeypatch, tmp_path):
    error = "Numba needs NumPy 2.3 or less. Got NumPy 2.5."
    (tmp_path / "numba.py").write_text(f"raise ImportError({error!r})")
    monkeypatch.delitem(sys.modules, "numba")
    monkeypatch.syspath_prepend(tmp_path)
    told = re.escape(f"the package numba cannot be loaded: {error}")
    with pytest.warns(UserWarning, match=f"^the sparse engine: {told}; all products are dense$"):
        assert not engine_of("auto", 32).is_ready()
    with pytest.raises(InputError, match=f"^--engine=sparse: {told}$"):
        check_engine("sparse")


@pytest.mark.parametrize(
    "name, value, told",
    [
        ("DISABLE_JIT", 1, "NUMBA_DISABLE_JIT is set, and nothing can be compiled"),
        ("NUMBA_NUM_THREADS", 0, "NUMBA_NUM_THREADS is at least 1: received 0"),
    ],
)
def test_numba_that_is_told_not_to_compile_or_to_use_no_thread(monkeypatch, name, value, told):
    monkeypatch.setattr(numba.config, name, value)
    with pytest.warns(UserWarning, match=f"^the sparse engine: {told}; all products are dense$"):
        assert not engine_of("auto", 32).is_ready()
    with pytest.raises(InputError, match=f"^--engine=sparse: {told}$"):
        check_engine("sparse")


def test_a_layer_of_kept_weights_without_numba(monkeypatch):
    layer = SparseDense(2, kept=3)
    layer.build((None, 4))
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(InputError, match=r"numba is missing; pip install 'tfprune\[sparse\]' brings it"):
        layer(np.ones((1, 4), np.float32))


@pytest.mark.slow
def test_the_first_process_says_that_it_compiles_and_the_second_is_silent(tmp_path):
    code = "from tfprune.engine.compiling import kernels; kernels()"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    said = [
        subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
        for _ in range(2)
    ]
    note = "tfprune: compiling the sparse engine for this machine, once ...\n"
    assert [(one.stdout, one.stderr) for one in said] == [("", note), ("", "")]
    assert tfprune.engine.compiling._SECONDS_WITHOUT_WORD >= 1  # or reading what was compiled would be announced
