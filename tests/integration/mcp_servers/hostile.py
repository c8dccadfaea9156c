"""An MCP server without the SDK that does not keep to the protocol, as its first argument says; the others are its own.

It speaks the protocol of 2025: it answers ``initialize``, and refuses ``server/discover``.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Message = dict[str, Any]

MODE, WORDS = sys.argv[1], sys.argv[2:]
TEXT = [{"type": "text", "text": "done"}]
OUTPUT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
# How often the tools have changed.
changes: list[None] = []


def write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def send(message: Message) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}))


def reply(request: Message, result: Message) -> None:
    send({"id": request["id"], "result": result})


def reply_text(request: Message, text: str) -> None:
    reply(request, {"content": [{"type": "text", "text": text}]})


def refuse(request: Message, code: int, text: str, **more: Any) -> None:
    send({"id": request["id"], "error": {"code": code, "message": text, **more}})


# ------------------------------------------------------------------------------------------------------ its tools


def tool(name: str, **more: Any) -> Message:
    return {"name": name, "description": name, "inputSchema": {"type": "object"}, **more}


def odd_schemas() -> list[Message]:
    deep: Message = {"type": "object"}
    for _ in range(70):
        deep = {"type": "object", "properties": {"a": deep}}
    unknown = {"type": "object", "properties": {"a": {"type": "no-such-type"}}}
    return [
        tool("fine"),
        tool("deep", outputSchema=deep),
        tool("large", inputSchema={"type": "object", "description": "x" * 300_000}),
        tool("many", inputSchema={"type": "object", "properties": {f"p{number}": {} for number in range(1_000)}}),
        tool("none", outputSchema=unknown),
    ]


def tools(cursor: str) -> Message:
    lists: dict[str, Callable[[], list[Message]]] = {
        "many": lambda: [tool(f"t{number}") for number in range(2_000)],
        "circle": lambda: [tool(f"t{cursor}")],
        "endless": lambda: [tool(f"t{cursor}")],
        "lie": lambda: [tool("call", outputSchema=OUTPUT)],
        "names": lambda: [tool(name) for name in ("ok", "with space", "with/space", "with_space", "x" * 200, "add")],
        "schemas": odd_schemas,
        "change": lambda: [tool("call"), tool("steady", description=f"version {len(changes)}")],
        "pinned": lambda: [tool("call", description=Path(WORDS[0]).read_text()), tool("other")],
    }
    more: Message = {}
    if MODE == "circle":
        more = {"nextCursor": "a" if cursor == "b" else "b"}
    elif MODE == "endless":
        more = {"nextCursor": f"{cursor}x"}
    return {"tools": lists.get(MODE, lambda: [tool("call")])(), **more}


# ------------------------------------------------------------------------------------------------- calls of a tool


def die(request: Message, given: Message) -> None:
    os._exit(7)


def hang(request: Message, given: Message) -> None:
    """Never answers."""


def flood(request: Message, given: Message) -> None:
    token = request["params"]["_meta"]["progressToken"]
    for number in range(5_000):
        send({"method": "notifications/progress", "params": {"progressToken": token, "progress": number}})
        send({"method": "notifications/message", "params": {"level": "info", "data": f"line {number}"}})
    reply(request, {"content": TEXT})


def demand(request: Message, given: Message) -> None:
    for number in range(20_000):
        send({"id": f"q{number}", "method": "roots/list"})
    reply(request, {"content": TEXT})
    # Not even the answers are read.
    time.sleep(1_000)


def lie(request: Message, given: Message) -> None:
    kinds: dict[str, Message] = {
        "wrong": {"content": TEXT, "structuredContent": {"n": "x"}},
        "missing": {"content": TEXT},
        "list": {"content": TEXT, "structuredContent": [1]},
        "no content": {"structuredContent": {"n": 1}},
        "unknown block": {"content": [{"type": "hologram", "data": "?"}]},
        "no result": {"nothing": True},
    }
    reply(request, kinds[given["kind"]])


def base64(request: Message, given: Message) -> None:
    reply(request, {"content": [{"type": "image", "data": "not base64!", "mimeType": "image/png"}]})


def huge(request: Message, given: Message) -> None:
    text = "done" if given.get("small") else "x" * 50_000_000
    if given.get("end"):
        result = {"content": [{"type": "text", "text": text}]}
        write(json.dumps({"result": result, "jsonrpc": "2.0", "id": request["id"]}))
    else:
        reply_text(request, text)


def containers(request: Message, given: Message) -> None:
    reply(request, {"content": TEXT, "structuredContent": {"a": [[]] * 2_000_000}})


def deep(request: Message, given: Message) -> None:
    result = json.dumps({"content": TEXT, "structuredContent": {"a": 0}}).replace("0", "[" * 900 + "]" * 900)
    write(f'{{"jsonrpc": "2.0", "id": {request["id"]}, "result": {result}}}')


def change(request: Message, given: Message) -> None:
    changes.append(None)
    send({"method": "notifications/tools/list_changed"})
    reply(request, {"content": TEXT})


def garbage(request: Message, given: Message) -> None:
    send({"id": 999_999, "result": {}})
    send({"id": None, "error": {"code": 1, "message": "who?"}})
    send({"id": "no such", "result": {"content": TEXT}})
    send({"method": "notifications/unheard-of", "params": {"a": 1}})
    send({"method": "notifications/progress", "params": {"progressToken": "none", "progress": "much"}})
    write('[1, 2]\n{"jsonrpc": "2.0"}\nplain text\n\x00\xff\n\n{"id": 3')
    reply(request, {"content": TEXT})
    reply_text(request, "again")


def asks(request: Message, given: Message) -> None:
    method = given["method"]
    params = {"messages": [], "maxTokens": 1} if method.startswith("sampling") else {}
    send({"id": f"q{request['id']}", "method": method, "params": params})
    answer = json.loads(sys.stdin.readline())
    reply_text(request, json.dumps(answer.get("error")))


def errors(request: Message, given: Message) -> None:
    refuse(request, -32602, "the argument is wrong", data={"a": 1})


def grandchild(request: Message, given: Message) -> None:
    code = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    reply_text(request, json.dumps([os.getpid(), child.pid]))


def done(request: Message, given: Message) -> None:
    reply(request, {"content": TEXT})


CALLS: dict[str, Callable[[Message, Message], None]] = {
    function.__name__: function
    for function in (
        die, hang, flood, demand, lie, base64, huge, containers, deep, change, garbage, asks, errors, grandchild,
    )
}  # fmt: skip


# --------------------------------------------------------------------------------------------------------- its life


def begin() -> None:
    if MODE == "die at start":
        sys.stderr.write("the reason of its death\n")
        sys.exit(5)
    if MODE == "hang at start":
        time.sleep(1_000)
    if MODE == "grandchild":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE == "chatty":
        write("Welcome to the server!")
        sys.stderr.write("It is \x1b[31mred\x1b[0m\n")
        sys.stderr.writelines(f"line {number}\n" for number in range(2_000))


def take(request: Message) -> None:
    params = request.get("params") or {}
    match request.get("method"):
        case "initialize":
            facts = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": True}}}
            reply(request, {**facts, "serverInfo": {"name": "hostile", "version": "1"}})
        case "tools/list":
            reply(request, tools(params.get("cursor", "")))
        case "tools/call":
            CALLS.get(MODE, done)(request, params.get("arguments") or {})
        case str() if "id" in request:
            refuse(request, -32601, "no such method")


if __name__ == "__main__":
    begin()
    for line in sys.stdin:
        take(json.loads(line))
    if MODE == "grandchild":
        # The end of its input is no reason to end.
        time.sleep(1_000)
