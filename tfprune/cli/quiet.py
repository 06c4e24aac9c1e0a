"""Keeps the start-up notes that TensorFlow's C++ parts write past Python out of the terminal."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
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
