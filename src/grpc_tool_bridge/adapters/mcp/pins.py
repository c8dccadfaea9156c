"""Pins: digests of the tools of MCP servers, so that one that changes is noticed and disabled.

The file is JSON, for people to read and to keep under version control::

    {"version": 1, "servers": {"files": {"read": {"digest": "sha256:…", "parts": {…}, "pending": {…}}}}}

``parts`` has a digest of each part of a tool, which tells what has changed. ``pending`` is what the server offers
instead of what was approved: its digests, and the tool itself.
"""

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp_types import Tool as McpTool

from grpc_tool_bridge.adapters.mcp.bounds import shown_name
from grpc_tool_bridge.errors import ValidationError

_log = logging.getLogger(__name__)

VERSION = 1
MAX_FILE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Pending:
    """A tool that has changed.

    Attributes:
        server, tool: The names of both.
        changed: Which parts of it have.
        offered: The tool as the server offers it now.
    """

    server: str
    tool: str
    changed: Sequence[str]
    offered: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name by which it is approved."""
        return f"{self.server}.{self.tool}"


class PinFile:
    """A file with pins, which several processes may use.

    Args:
        path: The file; it is made when the first tools are seen.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @property
    def _file(self) -> Path:
        """The file itself: all who use it by links must lock and replace the same one."""
        return Path(os.path.realpath(self.path))

    def check(self, server: str, tools: Iterable[McpTool]) -> tuple[list[McpTool], list[Pending]]:
        """Compares the tools of a server with those that are pinned, and pins those that are new.

        Returns:
            The tools that have not changed, and those that have.

        Raises:
            ValidationError: The file is not one of pins.
            OSError: It cannot be read or written.
        """
        with self._locked():
            whole = self._read()
            pinned: dict[str, Any] = whole["servers"].setdefault(server, {})
            was_known = bool(pinned)
            before = json.dumps(pinned, sort_keys=True)
            fine: list[McpTool] = []
            changed: list[Pending] = []
            for tool in tools:
                parts = parts_of(tool)
                digest = _digest(parts)
                pin = pinned.get(tool.name)
                if pin is None:
                    pinned[tool.name] = {"digest": digest, "parts": parts}
                    if was_known:
                        _log.warning(
                            "MCP server %s: the tool %s is new, and was added to %s",
                            server,
                            shown_name(tool.name),
                            self.path,
                        )
                    fine.append(tool)
                elif pin.get("digest") == digest:
                    pin.pop("pending", None)
                    fine.append(tool)
                else:
                    offered = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
                    pin["pending"] = {"digest": digest, "parts": parts, "tool": offered}
                    changed.append(_pending(server, tool.name, pin))
            if json.dumps(pinned, sort_keys=True) != before:
                self._write(whole)
            return fine, changed

    def pending(self) -> list[Pending]:
        """Lists the tools that have changed and are not approved; raises as ``check``."""
        servers = self._read()["servers"]
        return [
            _pending(server, tool, pin)
            for server, pinned in servers.items()
            for tool, pin in pinned.items()
            if "pending" in pin
        ]

    def approve(self, names: Iterable[str]) -> list[Pending]:
        """Approves what has changed of some tools, by ``SERVER.TOOL``, or of all of a server, by ``SERVER``.

        Returns:
            What was approved.

        Raises:
            ValidationError: Nothing of this name has changed, or as for ``check``.
            OSError: As for ``check``.
        """
        with self._locked():
            whole = self._read()
            waiting = self.pending()
            chosen: dict[str, Pending] = {}
            for name in names:
                found = [item for item in waiting if name in (item.name, item.server)]
                if not found:
                    known = ", ".join(item.name for item in waiting[:8]) or "none"
                    raise ValidationError(f"no tool of {name!r} waits to be approved; those that do: {known}")
                chosen.update({item.name: item for item in found})
            for item in chosen.values():
                pin = whole["servers"][item.server][item.tool]
                pending = pin.pop("pending")
                pin.update(digest=pending["digest"], parts=pending["parts"])
            self._write(whole)
            return list(chosen.values())

    def stamp(self) -> tuple[int, int]:
        """Returns what changes with the file."""
        try:
            found = self.path.stat()
        except OSError:
            return (0, 0)
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> dict[str, Any]:
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except FileNotFoundError:
            return {"version": VERSION, "servers": {}}
        found = None if len(data) > MAX_FILE_BYTES else _parsed(data)
        if found is None:
            raise ValidationError(
                f"{self.path}: it is not a file of pins; name another one, or remove it to trust all tools once more"
            )
        return found

    def _write(self, whole: Mapping[str, Any]) -> None:
        """Writes the file in one step: it is the old or the new one, whatever happens."""
        text = json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        target = self._file
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if target.exists():
                Path(name).chmod(target.stat().st_mode & 0o777)
            Path(name).replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                Path(name).unlink()
            raise

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps other processes from changing the file meanwhile."""
        target = self._file
        lock = target.with_name(f".{target.name}.lock")
        with lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _parsed(data: bytes) -> dict[str, Any] | None:
    """Reads a file of pins; None if it is none."""
    try:
        whole = json.loads(data)
        pins = [pin for pinned in whole["servers"].values() for pin in pinned.values()]
        fits = whole["version"] == VERSION and all(isinstance(pin["digest"], str) for pin in pins)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return dict(whole) if fits else None


def parts_of(tool: McpTool) -> dict[str, str]:
    """Returns a digest of each part of a tool that says what it does."""
    whole = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    names = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")
    return {name: _sha(whole[name]) for name in names if name in whole}


def _digest(parts: Mapping[str, str]) -> str:
    return f"sha256:{_sha(dict(parts))}"


def _sha(value: Any) -> str:
    return hashlib.sha256(
        json.dumps(value, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ).hexdigest()


def _pending(server: str, tool: str, pin: Mapping[str, Any]) -> Pending:
    before, now = pin.get("parts", {}), pin["pending"].get("parts", {})
    changed = [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
    return Pending(server, tool, changed, pin["pending"].get("tool", {}))
