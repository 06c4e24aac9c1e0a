"""Keeps what TensorFlow's C++ parts write past Python, and notes meant for its developers, out of the terminal."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator

from tfprune.errors import InputError


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Holds back everything written to the stderr file descriptor; shows it if the block crashes.

    TensorFlow tells at import and at the first look for a GPU what it was built with and what it did not find, before
    its own log level is read, so the descriptor itself is turned away for that moment.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except InputError:  # says all there is to say
            raise
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)


@contextlib.contextmanager
def quiet_conversion() -> Iterator[None]:
    """As `quiet_start`, and without the warnings of Python parts, which may go elsewhere than to the descriptor.

    Converters warn of their own deprecated interpreters and of nodes they rename. Nothing a caller could act on is
    lost: what they cannot convert, they raise.
    """
    loggers = [logging.getLogger(name) for name in ("absl", "tensorflow")]
    levels = [logger.level for logger in loggers]
    with quiet_start(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
