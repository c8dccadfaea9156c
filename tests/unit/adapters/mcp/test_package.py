import subprocess
import sys


def test_without_the_sdk_the_error_names_the_extra() -> None:
    code = "import sys; sys.modules['mcp'] = None\nimport grpc_tool_bridge.adapters.mcp"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.stderr.rstrip().endswith('mcp is not installed; run: pip install "grpc-tool-bridge[mcp]"')


def test_the_command_line_says_so_in_one_line() -> None:
    code = "import sys; sys.modules['mcp'] = None\nfrom grpc_tool_bridge.cli import main\n"
    code += "sys.exit(main(['serve', '--address', '127.0.0.1:0', '--mcp', 'x']))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr == 'error: mcp is not installed; run: pip install "grpc-tool-bridge[mcp]"\n'
