"""Renamed settings: for one version the old name still works, with a warning that names the new one."""

import warnings
from collections.abc import Mapping
from typing import Any

# Settings, by their old names.
SETTINGS: Mapping[str, str] = {
    "agent_run_keep_time": "agent_run_ttl",
    "answer_keep_time": "answer_ttl",
    "cache_keep_time": "cache_ttl",
    "worker_grace": "worker_grace_period",
}


def warn_renamed(old: str, new: str, *, stacklevel: int = 2) -> None:
    """Warns that ``old`` is now called ``new``; ``stacklevel`` counts from the caller of this function."""
    warnings.warn(f"{old} is deprecated; use {new}", DeprecationWarning, stacklevel=stacklevel + 1)


def renamed_settings(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns settings under their new names.

    Raises:
        ValueError: A setting is given under both of its names.
    """
    settings = dict(given)
    for old in SETTINGS.keys() & given.keys():
        new = SETTINGS[old]
        if new in given:
            raise ValueError(f"{old} and {new} are both set; {old} is the old name, remove it")
        warn_renamed(old, new, stacklevel=3)
        settings[new] = settings.pop(old)
    return settings


def old_name(old: str) -> Any:
    """Returns a property that reads a setting by its old name."""

    def read(settings: object) -> Any:
        warn_renamed(old, SETTINGS[old])
        return getattr(settings, SETTINGS[old])

    return property(read)
