"""Keys that are pressed while a command shows something that changes."""

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Iterator

# Bytes of keys that are read at once.
_READ_BYTES = 64


@contextlib.contextmanager
def keys_pressed(on_key: Callable[[str], object]) -> Iterator[None]:
    """Calls ``on_key`` in the event loop for each key, for the duration of the context; Ctrl-C stays what it is.

    Does nothing if stdin is no terminal, or on a system without ``termios``.
    """
    try:
        import termios
        import tty
    except ImportError:
        yield
        return
    try:
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
    except (AttributeError, OSError, ValueError, termios.error):
        yield
        return
    loop = asyncio.get_running_loop()

    def read() -> None:
        pressed = os.read(descriptor, _READ_BYTES)
        if not pressed:
            # The terminal has gone.
            loop.remove_reader(descriptor)
        for key in pressed.decode("utf-8", "replace"):
            on_key(key)

    tty.setcbreak(descriptor, termios.TCSANOW)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        # What was typed meanwhile is not for the shell.
        termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
