"""Runs a command line, and reports its failure.

Imports nothing heavy: ``--version`` needs no commands.
"""

import os
import sys
from collections.abc import Sequence

from grpc_tool_bridge.cli.failures import report, wants_json
from grpc_tool_bridge.cli.program_name import print_version

# With it, a completion script asks what the word at the cursor may become; its value is the shell.
COMPLETE_VARIABLE = "_GRPC_TOOL_BRIDGE_COMPLETE"


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line like ``cli.main``; default: the arguments of the process.

    A failure is printed on one line on stderr, with ``--json`` as JSON.
    """
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        if COMPLETE_VARIABLE in os.environ:
            from grpc_tool_bridge.cli import completion

            return completion.answer(os.environ[COMPLETE_VARIABLE], words)
        if words == ["--version"]:
            print_version()
            code = 0
        else:
            code = _run(words)
        sys.stdout.flush()
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - every error becomes one line
        return report(error, as_json=wants_json(words))
    return code


def _run(words: Sequence[str]) -> int:
    from grpc_tool_bridge.cli import direct
    from grpc_tool_bridge.cli.commands import with_default
    from grpc_tool_bridge.cli.serve_words import after_serve

    words = after_serve(with_default(words))
    plain = direct.read(words)
    if plain is None:
        from grpc_tool_bridge.cli import typer_app

        return typer_app.run(words)
    command, values = plain
    return command.run(values)
