"""Stores whose hub was killed."""

import subprocess
import sys
from pathlib import Path

from support.patience import PATIENCE

PROGRAM = """
import os, sys
from pathlib import Path
from grpc_tool_bridge.stores.sqlite.file import StoreFile
file = StoreFile(Path(sys.argv[1]))
connection = file.open(0)
def put(name, value):
    connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))
{work}
os._exit(9)
"""


def crash(path: Path, work: str = "") -> None:
    """Opens a store in another process, does some work with its ``connection`` and ``file``, and kills it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(work=work), str(path)], timeout=PATIENCE, check=False, capture_output=True
    )
    assert done.returncode == 9, done.stderr.decode()
