"""Time as a test sets it."""

from types import ModuleType

import pytest


class Clock:
    """Stands for the module ``time`` in one module of the package.

    Attributes:
        now: What both of its clocks say.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: ModuleType) -> None:
        self.now = 1_000.0
        monkeypatch.setattr(module, "time", self)

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now
