"""Ctrl-C that always ends the program.

Python raises KeyboardInterrupt wherever the main thread is at that moment. In a destructor or a callback of garbage
collection it is printed as ignored and lost, and TensorFlow makes an error of its own of one in a Python function that
it calls.
"""

from __future__ import annotations

import _thread
import contextlib
import signal
import sys
import threading
from collections.abc import Iterator

_SECONDS = 0.05


@contextlib.contextmanager
def prompt_interrupts() -> Iterator[None]:
    """Raises KeyboardInterrupt out of the block once Ctrl-C was pressed in it, wherever the first one got lost.

    Only the main thread can do it; elsewhere, and where the program has another handler, nothing is changed.
    """
    is_usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if not is_usual or threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed, over, waiting, told = threading.Event(), threading.Event(), threading.Lock(), sys.unraisablehook

    def remember(*arguments) -> None:
        pressed.set()
        signal.default_int_handler(*arguments)

    def again() -> None:
        # Raised at once it would be lost as the first one was: the destructor must have ended.
        ended = over.wait(_SECONDS)
        waiting.release()
        if not ended:
            _thread.interrupt_main()

    def ignored(event) -> None:
        if isinstance(event.exc_value, KeyboardInterrupt):
            if waiting.acquire(blocking=False):
                threading.Thread(target=again, daemon=True).start()
        else:
            told(event)

    signal.signal(signal.SIGINT, remember)
    sys.unraisablehook = ignored
    try:
        yield
    except Exception as error:
        if pressed.is_set():
            raise KeyboardInterrupt from error
        raise
    finally:
        over.set()
        sys.unraisablehook = told
        signal.signal(signal.SIGINT, signal.default_int_handler)
