"""Brings a TFDS set into its folder: downloaded, or from original files, so that `tfds.load` reads it afterwards."""

from __future__ import annotations

import contextlib
import glob
import io
import re
import shutil
import socket
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tfprune.data.original_files import READABLE, Part, read_original
from tfprune.data.tfds_sets import find_builder
from tfprune.errors import InputError
from tfprune.records.atomic import temporary_folder
from tfprune.records.lock import FileLock

_OWN = {
    "digits": "comes with scikit-learn: there is nothing to prepare",
    "tinyimagenet": "is read from its own folder tiny-imagenet-200: --path_to_data names the one that holds it",
    "tinyimagenet2": "is read from its own folder tiny-imagenet-200: --path_to_data names the one that holds it",
    "imagenet": "is read from its own folders train and val: --path_to_data names the one that holds them",
    "ImageNet32": "is read from its own files: [Data] dataloc names their folder",
    "ImageNet64": "is read from its own files: [Data] dataloc names their folder",
}
_TIMEOUT = 10.0


def find_set(dataset: str, data_dir: str | Path | None, source: str | Path | None):
    """The TFDS builder of a set that is to be prepared. Loads no TensorFlow, and writes nothing.

    Args:
        dataset: TFDS's name of the set.
        data_dir: TFDS's data_dir; None is TFDS's default (`TFDS_DATA_DIR`, or ~/tensorflow_datasets).
        source: of its original files (see `read_original`), which are read; None to download them.

    Returns:
        The builder; its `info.splits` are empty unless the set is there, and then the source is not looked at.

    Raises:
        InputError: an unknown set or one that TFDS does not prepare, or original files that cannot be had or read.
    """
    if dataset in _OWN:
        raise InputError(f"{dataset} {_OWN[dataset]}")
    try:
        builder = find_builder(dataset, data_dir, also_known=_OWN)
    except InputError as error:
        raise InputError(str(error).replace("[Data] dataset = ", "")) from None
    if builder.info.splits:
        return builder
    if source is None:
        _check_reachable(builder)
        return builder
    return _local_builder(builder, *read_original(dataset, source))


def prepare_set(builder, download: bool) -> None:
    """Writes a set as TFDS does: all or nothing.

    The images of a set have the same order as if TFDS had downloaded them.

    Args:
        builder: from `find_set`.
        download: whether it was found without a source.

    Raises:
        InputError: files cannot be had or written, or another process prepares the set; nothing of it is left then.
    """
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    config = tfds.download.DownloadConfig(compute_stats=tfds.download.ComputeStatsMode.SKIP)
    with _alone(builder), contextlib.ExitStack() as stack:
        # TFDS prints how large the download will be, "Unknown size" where it is none.
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        where = None if download else stack.enter_context(temporary_folder())
        try:
            builder.download_and_prepare(download_dir=where, download_config=config)
        except Exception as error:  # of TFDS, of its ways to download, of the set's own code
            reason = " ".join(str(error).split())[:300]
            raise InputError(
                f"cannot prepare {builder.name} in {builder.data_path}: {type(error).__name__}: {reason}"
            ) from error


def _local_builder(builder, parts: dict[str, Part], names: dict[str, list[str]]):
    """The same builder, but with the examples of these parts."""
    from tensorflow_datasets.core import registered

    original = type(builder)

    def split_generators(self, dl_manager):
        for feature, given in names.items():
            self.info.features[feature].names = given
        return {split: self._generate_examples(split) for split in parts}

    def generate_examples(self, split):
        part = parts[split]
        for index, image in enumerate(part.images):
            labels = {feature: int(labels[index]) for feature, labels in part.labels.items()}
            identity = {"id": f"{split}_{index:05d}"} if "id" in self.info.features else {}
            yield index, {"image": image, **labels, **identity}  # the key decides about the order, as TFDS's does

    members = {
        "name": original.name,
        "__module__": original.__module__,
        "_split_generators": split_generators,
        "_generate_examples": generate_examples,
    }
    with registered.skip_registration():
        return type(original.__name__, (original,), members)(data_dir=builder.data_dir_root)


@contextlib.contextmanager
def _alone(builder) -> Iterator[None]:
    """Keeps other processes from preparing this set, and removes what a killed one has left."""
    target = Path(builder.data_path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.name}.lock"))
    except BlockingIOError:
        raise InputError(f"{target.parent}: another process is preparing this set") from None
    except OSError as error:
        raise InputError(f"cannot write in {target.parent}: {error.strerror}") from None
    try:
        for left in list(_left_behind(target, Path(builder.data_dir_root, "downloads"), builder.name)):
            shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        lock.remove()
        with contextlib.suppress(OSError):
            target.parent.rmdir()  # where nothing came into it


def _left_behind(target: Path, downloads: Path, name: str) -> Iterator[Path]:
    """What TFDS did not come to the end of: sets, downloads, and archives that it unpacked."""
    yield from target.parent.glob(f"incomplete.*_{target.name}")
    for path in (downloads / name).rglob("*"):
        if path.is_file():
            yield from (downloads / "extracted").glob(f"incomplete*.{glob.escape(path.name)}")
        elif re.fullmatch(r".+\.tmp\.[0-9a-f]{32}", path.name):
            yield path


class _Asked(Exception):
    """Carries what a builder wants to download."""


class _Asker:
    """In place of TFDS's download manager: tells what it is asked for, and downloads nothing."""

    def __getattr__(self, name: str):
        def asked(what=None, *_, **__):
            raise _Asked(what)

        return asked


def _check_reachable(builder) -> None:
    """Refuses to download from a host that does not answer: TFDS would try again for minutes."""
    try:
        builder._split_generators(_Asker())
        return
    except _Asked as asked:
        (what,) = asked.args
    except Exception:
        return  # a builder that wants something else; its own error says what
    while isinstance(what, dict | list | tuple) and what:
        what = next(iter(what.values() if isinstance(what, dict) else what))
    address = urlsplit(getattr(what, "url", what)) if isinstance(getattr(what, "url", what), str) else None
    if address is None or address.hostname is None or address.scheme in urllib.request.getproxies():
        return
    port = address.port or (80 if address.scheme == "http" else 443)
    try:
        socket.create_connection((address.hostname, port), _TIMEOUT).close()
    except OSError as error:
        way = "; without a network prepare it from its original files with --from FOLDER"
        raise InputError(
            f"{builder.name}: cannot reach {address.hostname} ({error.strerror or error})"
            f"{way if builder.name in READABLE else ''}"
        ) from None
