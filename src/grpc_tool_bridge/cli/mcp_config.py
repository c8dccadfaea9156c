"""``mcp --print-config``: the settings with which applications start ``mcp``."""

import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from enum import Enum
from pathlib import Path
from typing import Any, cast

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.grpc_options import GrpcOptions, flag_of, variables_of
from grpc_tool_bridge.cli.mcp_stdio_options import DEFAULT_NAME, ConfigFormat, McpOptions
from grpc_tool_bridge.cli.options import HubOptions, OptionGroup
from grpc_tool_bridge.cli.streams import require_stdout, write
from grpc_tool_bridge.cli.tool_sources import check_file, split_source
from grpc_tool_bridge.config import Settings

# About the printing itself, or always given.
_NOT_REPEATED = frozenset({"print_config", "name", "address"})
# With these an application passes on a variable of its own environment, so that a secret stays out of its settings.
_PASSED_ON = {ConfigFormat.CURSOR: "${{env:{}}}", ConfigFormat.VSCODE: "${{env:{}}}"}
_PASSWORD = re.compile(r"//[^/]*@")


def run(sources: list[str], options: McpOptions, services: GrpcOptions, hub: HubOptions) -> int:
    """Prints the settings; returns the exit code.

    Raises:
        ArgumentError: They would need a secret.
    """
    require_stdout()
    write(json.dumps(config_of(sources, options, services, hub), indent=2) + "\n")
    return 0


def config_of(sources: list[str], options: McpOptions, services: GrpcOptions, hub: HubOptions) -> dict[str, Any]:
    """Returns the settings of an application: an object to be put into its file, or merged with what is there.

    All paths in it are absolute, and it depends on no variable of this process's environment.

    Raises:
        ArgumentError: They would need a secret, which belongs into a file or a variable, or a file of tools does not
            exist.
    """
    form = options.print_config or ConfigFormat.CLAUDE
    secrets: dict[str, str] = {}
    if sources or services.names_some:
        words = [word for source in sources for word in ("--tools", _absolute_source(source))]
        words += _words_of(services)
        secrets = _variables(form, services)
    else:
        secrets, hub = _secrets(form, hub)
        words = ["--address", hub.address, *_words_of(hub)]
    command, first = _program()
    entry: dict[str, Any] = {} if form is ConfigFormat.CLAUDE else {"type": "stdio"}
    entry |= {"command": command, "args": [*first, "mcp", *words, *_words_of(options)]}
    environment = {**_environment(sources, options), **secrets}
    if environment:
        entry["env"] = environment
    return {"servers" if form is ConfigFormat.VSCODE else "mcpServers": {options.name or DEFAULT_NAME: entry}}


def _program() -> tuple[str, list[str]]:
    """Returns the command that starts this program from anywhere, and its first arguments."""
    script = Path(sys.executable).with_name("grpc-tool-bridge")
    return (str(script), []) if os.access(script, os.X_OK) else (sys.executable, ["-m", "grpc_tool_bridge.cli"])


def _absolute_source(source: str) -> str:
    where, attribute = split_source(source)
    if not where.endswith(".py"):
        return source
    try:
        check_file(source, where)
    except ArgumentError as error:
        raise ArgumentError(f"--tools {error}") from None
    path = str(Path(where).resolve())
    return f"{path}:{attribute}" if attribute else path


def _words_of(options: OptionGroup) -> list[str]:
    """Returns the options of a group as they are given on the command line, without those at their default."""
    return [
        word
        for item in fields(cast("Any", options))
        if item.name not in _NOT_REPEATED
        for word in _words(options, item)
    ]


def _words(options: OptionGroup, item: Any) -> Iterator[str]:
    value = getattr(options, item.name)
    if value == item.default or value is None:
        return
    flag = flag_of(item.name, item.type)
    if isinstance(value, bool):
        yield flag if value else f"--no-{flag[2:]}"
        return
    for one in value if isinstance(value, list) else [value]:
        yield flag
        yield str(one.resolve() if isinstance(one, Path) else one.value if isinstance(one, Enum) else one)


def _environment(sources: list[str], options: McpOptions) -> dict[str, str]:
    """Returns the variables without which the command would do something else, none of which is secret."""
    names = [item.name for item in fields(options) if item.name in Settings.model_fields]
    given = {f"TOOL_BRIDGE_{name.upper()}": name for name in names if getattr(options, name) is None}
    found = {variable: os.environ[variable] for variable in given if os.environ.get(variable)}
    folders = [folder for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    if any(_is_below(Path.cwd(), source) for source in sources):
        folders.append(".")
    if folders:
        found["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(str(Path(folder).resolve()) for folder in folders))
    return found


def _is_below(folder: Path, source: str) -> bool:
    """Returns whether a module is found because it is below the working directory."""
    where, _ = split_source(source)
    first = folder / where.partition(".")[0]
    return not where.endswith(".py") and (first.is_dir() or first.with_suffix(".py").is_file())


def _variables(form: ConfigFormat, services: GrpcOptions) -> dict[str, str]:
    """Returns the variables that pass the metadata of gRPC services on.

    Raises:
        ArgumentError: The application cannot pass a variable on, or a value is given in plain.
    """
    names = variables_of(services)
    if names and form not in _PASSED_ON:
        raise ArgumentError(
            f"{names[0]} is secret, so it is not printed, and this application cannot pass on a variable; write its "
            "value into the metadata of a file that only you can read, and give that as --grpc-config FILE"
        )
    return {name: _PASSED_ON[form].format(name) for name in names}


def _secrets(form: ConfigFormat, hub: HubOptions) -> tuple[dict[str, str], HubOptions]:
    """Returns the variables that pass secrets on, and the options without these secrets.

    Raises:
        ArgumentError: The application cannot pass a variable on.
    """
    names = []
    if hub.token_file is None:
        named = os.environ.get("TOOL_BRIDGE_TOKEN_FILE")
        if os.environ.get("TOOL_BRIDGE_TOKEN") is not None:
            names.append("TOOL_BRIDGE_TOKEN")
        elif named:
            hub = replace(hub, token_file=Path(named))
    if hub.proxy is not None and _PASSWORD.search(hub.proxy):
        names.append("TOOL_BRIDGE_PROXY")
        if hub.proxy != os.environ.get("TOOL_BRIDGE_PROXY"):
            raise ArgumentError("--proxy: it has a password, which is not printed; put it in TOOL_BRIDGE_PROXY instead")
        hub = replace(hub, proxy=None)
    if names and form not in _PASSED_ON:
        instead = "put the token in a file and give --token-file FILE" if names[0].endswith("TOKEN") else "leave it out"
        raise ArgumentError(
            f"{names[0]} is secret, so it is not printed, and this application cannot pass on a variable; {instead}"
        )
    return {name: _PASSED_ON[form].format(name) for name in names}, hub
