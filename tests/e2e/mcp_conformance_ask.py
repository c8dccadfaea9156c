"""The client that the conformance suite of MCP starts for each scenario: has it played at a socket.

It imports next to nothing: the suite starts dozens at once, and what plays them is ready already.
"""

import json
import os
import socket
import sys

PREFIX = "MCP_CONFORMANCE_"


def main() -> int:
    """Asks for the scenario, and returns the exit code."""
    path, url = sys.argv[1:]
    asked = {name.removeprefix(PREFIX).lower(): value for name, value in os.environ.items() if name.startswith(PREFIX)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.sendall(json.dumps({**asked, "url": url}).encode() + b"\n")
        with connection.makefile(encoding="utf-8") as answer:
            text = answer.read()
    sys.stderr.write(text)
    return 1 if text else 0


if __name__ == "__main__":
    sys.exit(main())
