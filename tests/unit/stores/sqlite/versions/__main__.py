"""Writes the store of the present version."""

import asyncio
import tempfile
from pathlib import Path

from support.store_files import filled
from unit.stores.sqlite.versions import write_dump

with tempfile.TemporaryDirectory() as name:
    write_dump(lambda path: asyncio.run(filled(path)), Path(name))
