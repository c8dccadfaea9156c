"""Runs a command while every core of the machine is kept busy beside it: ``scripts/busy.py COMMAND…``."""

import os
import subprocess
import sys

# Ends with its parent, however that ends.
_BUSY = """
import os, sys
while os.getppid() == int(sys.argv[1]):
    for _ in range(1_000_000):
        pass
"""


def main(command: list[str]) -> int:
    """Returns the exit code of the command."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    busy = [subprocess.Popen([sys.executable, "-c", _BUSY, str(os.getpid())]) for _ in range(cores)]
    print(f"busy: {cores} processes keep the cores busy: {' '.join(str(each.pid) for each in busy)}", flush=True)
    try:
        return subprocess.run(command, check=False).returncode
    finally:
        for each in busy:
            each.kill()
            each.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
