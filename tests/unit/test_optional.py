"""A framework that is not installed is one clear error, and only for who asks for it."""

import subprocess
import sys

import pytest

from grpc_tool_bridge.optional import missing
from support.patience import PATIENCE

FRAMEWORKS = ["agents", "dspy", "google.adk", "langchain_core", "langgraph", "llama_index", "openai", "pydantic_ai"]


@pytest.mark.parametrize(
    ("edge", "module", "extra"),
    [
        ("dspy", "dspy", "dspy"),
        ("langchain", "langchain_core", "langchain"),
        ("langgraph", "langchain_core", "langchain"),
        ("openai_agents", "agents", "openai-agents"),
        ("pydantic_ai", "pydantic_ai", "pydantic-ai"),
        ("llama_index", "llama_index", "llama-index"),
        ("google_adk", "google.adk", "google-adk"),
    ],
)
def test_a_framework_that_is_not_installed_is_named_with_its_extra(edge: str, module: str, extra: str) -> None:
    program = (
        "import sys\n"
        f"class Absent:\n"
        f"    def find_spec(self, name, path=None, target=None):\n"
        f"        if f'{{name}}.'.startswith('{module}.'):\n"
        f"            raise ModuleNotFoundError(f'No module named {{name!r}}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "import grpc_tool_bridge.client.bridge, grpc_tool_bridge.adapters.openai\n"
        "try:\n"
        f"    import grpc_tool_bridge.adapters.{edge}\n"
        "except ImportError as error:\n"
        "    print(error)"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE)

    assert ran.stdout.strip() == f'{module} is not installed; run: pip install "grpc-tool-bridge[{extra}]"'


def test_a_framework_that_fails_by_itself_keeps_its_error() -> None:
    error = ImportError("no such symbol", name="numpy.linalg")

    assert missing(error, "dspy", extra="dspy") is error


def test_a_bridge_imports_no_framework() -> None:
    program = (
        "import sys, grpc_tool_bridge.client.bridge, grpc_tool_bridge.adapters.openai\n"
        f"print([name for name in {FRAMEWORKS} if name in sys.modules])"
    )

    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=PATIENCE)

    assert ran.stdout.strip() == "[]"
