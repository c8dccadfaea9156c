"""Gives every process that a test starts the signals that a terminal gives.

A program that was started in the background of a script, or by ``nohup``, ignores SIGINT or SIGHUP, and so does
whatever it starts: no test of Ctrl-C could pass there. A signal that is caught, however, has its default effect
again in a child.
"""

import signal

import pytest

from support.parallel import runs_tests

# Python ignores these itself and resets them in its children.
_PYTHONS_OWN = {number for name in ("SIGPIPE", "SIGXFSZ", "SIGXFZ") if (number := getattr(signal, name, None))}


def pytest_configure(config: pytest.Config) -> None:
    """Catches what was ignored, in the process that runs the tests and only there."""
    if runs_tests(config):
        catch_ignored()


def catch_ignored() -> None:
    """Catches each signal that is ignored; SIGINT as Python does, the others without an effect."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    for number in signal.valid_signals() - _PYTHONS_OWN:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _go_on)


def _go_on(*_: object) -> None:
    pass
