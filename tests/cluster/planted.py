"""Faults that a hub can have on purpose, which the checks of histories must find."""


def plant(name: str) -> None:
    """Puts a fault into this process; empty: none."""
    if name:
        raise ValueError(f"no fault is called {name!r}")
