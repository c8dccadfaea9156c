"""Growth is told from noise, waves, steps and single values."""

import math
import os
import random
import socket
import subprocess
import sys
from collections.abc import Callable

import pytest

from support.growth import History, growth, held_by


def series(value: Callable[[float], float], count: int = 200) -> list[tuple[float, float]]:
    """A value at each tenth of a second."""
    return [(number / 10, value(number / 10)) for number in range(count)]


def test_what_rises_steadily_grows_by_what_it_rose_over_the_second_half() -> None:
    assert growth(series(lambda now: 100 + 3 * now)) == pytest.approx(30, rel=0.3)


def test_a_rise_is_found_under_noise_ten_times_as_large_as_its_steps() -> None:
    chance = random.Random(1)
    assert growth(series(lambda now: 3 * now + chance.uniform(-3, 3))) == pytest.approx(22, rel=0.3)


@pytest.mark.parametrize(
    "value",
    [
        lambda now: 100,
        lambda now: 100 - now,
        # A warm-up, and a saw-tooth as of a collector.
        lambda now: min(now, 9) * 100,
        lambda now: now % 1 * 100,
        lambda now: math.sin(now * 7) * 100,
        # A cache that was filled once, and single values.
        lambda now: 500 if now > 11 else 0,
        lambda now: 10_000 if now in (12.5, 19.9) else 0,
    ],
)
def test_what_does_not_rise_does_not_grow(value: Callable[[float], float]) -> None:
    assert growth(series(value)) < 10


def test_too_few_values_say_nothing() -> None:
    assert growth([]) == growth([(0, 1), (1, 100)]) == 0


# It has a thread, a socket and a file more after each line that it reads, and ends with its input.
HOLDS = """
import os, socket, sys, threading
kept = []
print(flush=True)
for _ in sys.stdin:
    kept += [socket.socket(), open(os.devnull), threading.Thread(target=threading.Event().wait, daemon=True)]
    kept[-1].start()
    print(flush=True)
"""


def test_a_process_is_seen_with_its_threads_sockets_and_files() -> None:
    # In this process, threads of other tests end meanwhile.
    with subprocess.Popen([sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        before = held_by(process.pid)
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        after = held_by(process.pid)
        process.stdin.close()
    assert before.memory > 0
    differences = (after.threads - before.threads, after.sockets - before.sockets, after.files - before.files)
    assert differences == (1, 1, 1)


def test_a_history_has_the_growth_of_each_kind() -> None:
    history = History(os.getpid())
    kept: list[socket.socket] = []
    for number in range(40):
        history.look(float(number))
        kept.append(socket.socket())
    for each in kept:
        each.close()
    grown = history.growth()
    assert set(grown) == {"memory", "threads", "sockets", "files"}
    assert grown["sockets"] > 10
    assert grown["files"] == 0
