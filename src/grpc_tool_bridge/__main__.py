"""``python -m grpc_tool_bridge`` is ``grpc-tool-bridge``."""

import sys

from grpc_tool_bridge.cli import main

if __name__ == "__main__":
    sys.exit(main())
