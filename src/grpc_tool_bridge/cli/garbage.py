"""The garbage collector while the program starts and ends: it searches among objects that stay, and finds nothing."""

import gc

# New objects between collections; a command that makes few starts faster, and ends before the first one.
_STARTING = 50_000
_usual = gc.get_threshold()


def postpone() -> None:
    """Lets many objects be made before the first collection, as imports do."""
    gc.set_threshold(_STARTING, *_usual[1:])


def resume() -> None:
    """Collects as usual from here on: the process will serve for long."""
    gc.set_threshold(*_usual)


def leave() -> None:
    """Leaves the objects that there are to the end of the process, where Python would search all for cycles."""
    gc.freeze()
