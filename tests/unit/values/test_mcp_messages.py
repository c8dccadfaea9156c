import subprocess
import sys

from grpc_tool_bridge.values.mcp_messages import METHODS, SERVICE_NAME, VERSIONS, path_of

IMPORT = "\nfrom grpc_tool_bridge.cli import main\nsys.exit(main({}))"


def error_of(code: str) -> str:
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    return found.stderr.rstrip().splitlines()[-1]


def test_it_is_the_service_of_the_published_proto() -> None:
    assert SERVICE_NAME == "model_context_protocol.Mcp"
    assert path_of("CallTool") == "/model_context_protocol.Mcp/CallTool"
    assert {"ListTools", "CallTool", "Complete"} <= set(METHODS)
    assert VERSIONS == ("2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")


def test_without_the_package_the_error_names_the_extra() -> None:
    missing = "import sys; sys.modules['mcp_grpc_transport_proto'] = None"
    text = 'mcp_grpc_transport_proto is not installed; run: pip install "grpc-tool-bridge[mcp-grpc]"'
    assert error_of(f"{missing}\nimport grpc_tool_bridge.values.mcp_messages").endswith(text)
    serve = IMPORT.format(["serve", "--address", "127.0.0.1:0", "--mcp", "grpc://127.0.0.1:1"])
    assert error_of(missing + serve) == f"error: {text}"
    serve = IMPORT.format(["serve", "--address", "127.0.0.1:0", "--mcp-grpc"])
    assert error_of(missing + serve).startswith(
        'error: serve: MCP over gRPC needs pip install "grpc-tool-bridge[mcp-gr'
    )


def test_an_old_protobuf_is_an_error_that_says_so() -> None:
    old = (
        "import google.protobuf.runtime_version as v\n"
        "def refuse(*args):\n"
        "    if args[-1].startswith('mcp'): raise v.VersionError('gencode 9 runtime 8')\n"
        "v.ValidateProtobufRuntimeVersion = refuse\n"
        "import grpc_tool_bridge.values.mcp_messages"
    )
    assert "MCP over gRPC needs a newer protobuf: gencode 9 runtime 8" in error_of(old)
