"""The messages that gRPC's C core writes on stderr: off, unless they are asked for.

It reads the environment when it is loaded, so both functions have to be called before.
"""

import os

VARIABLE = "GRPC_VERBOSITY"
_OFF, _ON = "NONE", "INFO"

# What this program has set, and may change.
_own: list[str] = []


def silence() -> None:
    """Turns them off, unless the user's environment says what is written."""
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = _OFF
        _own.append(VARIABLE)


def allow() -> None:
    """Turns them on again, if it was this program that turned them off."""
    if VARIABLE in _own:
        os.environ[VARIABLE] = _ON
