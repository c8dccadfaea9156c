"""An MCP server without the SDK that does not keep to the protocol, as its first argument says; the others are its own.

It speaks the protocol of 2025: it answers ``initialize``, and refuses ``server/discover``.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

MODE, WORDS = sys.argv[1], sys.argv[2:]
TEXT = [{"type": "text", "text": "done"}]


def send(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def reply(request: dict[str, Any], result: dict[str, Any]) -> None:
    send({"id": request["id"], "result": result})


def refuse(request: dict[str, Any], text: str) -> None:
    send({"id": request["id"], "error": {"code": -32601, "message": text}})


def tool(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": name, "inputSchema": {"type": "object"}, **more}


OUTPUT = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
version = 0


def tools(cursor: str | None) -> dict[str, Any]:
    if MODE == "many":
        return {"tools": [tool(f"t{number}") for number in range(100_000)]}
    if MODE == "circle":
        return {"tools": [tool(f"t{cursor}")], "nextCursor": "a" if cursor == "b" else "b"}
    if MODE == "endless":
        number = int(cursor or "0")
        return {"tools": [tool(f"t{number}")], "nextCursor": str(number + 1)}
    if MODE == "lie":
        return {"tools": [tool("call", outputSchema=OUTPUT)]}
    if MODE == "names":
        names = ["ok", "with space", "with/space", "with_space", "x" * 200, "add"]
        return {"tools": [tool(name) for name in names]}
    if MODE == "schemas":
        deep: dict[str, Any] = {"type": "object"}
        for _ in range(70):
            deep = {"type": "object", "properties": {"a": deep}}
        large = {"type": "object", "description": "x" * 300_000}
        many = {"type": "object", "properties": {f"p{number}": {} for number in range(1_000)}}
        return {
            "tools": [
                tool("fine"),
                tool("deep", outputSchema=deep),
                {**tool("large"), "inputSchema": large},
                {**tool("many"), "inputSchema": many},
                tool("none", outputSchema={"type": "object", "properties": {"a": {"type": "no-such-type"}}}),
            ]
        }
    if MODE == "change":
        return {"tools": [tool("call"), {**tool("steady"), "description": f"version {version}"}]}
    return {"tools": [tool("call")]}



def call(request: dict[str, Any]) -> None:
    global version
    given = request["params"].get("arguments") or {}
    match MODE:
        case "die":
            os._exit(7)
        case "hang":
            return
        case "flood":
            token = request["params"]["_meta"]["progressToken"]
            for number in range(50_000):
                send({"method": "notifications/progress", "params": {"progressToken": token, "progress": number}})
                send({"method": "notifications/message", "params": {"level": "info", "data": f"line {number}"}})
            reply(request, {"content": TEXT})
        case "lie":
            kinds = {
                "wrong": {"content": TEXT, "structuredContent": {"n": "x"}},
                "missing": {"content": TEXT},
                "list": {"content": TEXT, "structuredContent": [1]},
                "no content": {"structuredContent": {"n": 1}},
                "unknown block": {"content": [{"type": "hologram", "data": "?"}]},
                "no result": {"nothing": True},
            }
            reply(request, kinds[given["kind"]])
        case "base64":
            reply(request, {"content": [{"type": "image", "data": "not base64!", "mimeType": "image/png"}]})
        case "huge":
            text = "x" * 50_000_000
            if given.get("end"):
                block = json.dumps({"result": {"content": [{"type": "text", "text": text}]}, "jsonrpc": "2.0", "id": 0})
                sys.stdout.write(block.replace('"id": 0', f'"id": {request["id"]}') + "\n")
                sys.stdout.flush()
            elif given.get("small"):
                reply(request, {"content": TEXT})
            else:
                reply(request, {"content": [{"type": "text", "text": text}]})
        case "containers":
            reply(request, {"content": TEXT, "structuredContent": {"a": [[]] * 2_000_000}})
        case "deep":
            deep = json.dumps({"content": TEXT, "structuredContent": {"a": 0}}).replace("0", "[" * 900 + "]" * 900)
            sys.stdout.write(f'{{"jsonrpc": "2.0", "id": {request["id"]}, "result": {deep}}}\n')
            sys.stdout.flush()
        case "change":
            version += 1
            send({"method": "notifications/tools/list_changed"})
            reply(request, {"content": TEXT})
        case "garbage":
            send({"id": 999_999, "result": {}})
            send({"id": None, "error": {"code": 1, "message": "who?"}})
            send({"id": "no such", "result": {"content": TEXT}})
            send({"method": "notifications/unheard-of", "params": {"a": 1}})
            send({"method": "notifications/progress", "params": {"progressToken": "none", "progress": "much"}})
            sys.stdout.write('[1, 2]\n{"jsonrpc": "2.0"}\nplain text\n\x00\xff\n\n{"id": 3\n')
            reply(request, {"content": TEXT})
            reply(request, {"content": [{"type": "text", "text": "again"}]})
        case "asks":
            method = given["method"]
            params = {"messages": [], "maxTokens": 1} if method.startswith("sampling") else {}
            send({"id": f"q{request['id']}", "method": method, "params": params})
            answer = json.loads(sys.stdin.readline())
            reply(request, {"content": [{"type": "text", "text": json.dumps(answer.get("error"))}]})
        case "errors":
            send({"id": request["id"], "error": {"code": -32602, "message": "the argument is wrong", "data": {"a": 1}}})
        case "grandchild":
            child = subprocess.Popen(
                [sys.executable, "-c", "import signal,time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)"],
                start_new_session=True,
            )
            text = json.dumps([os.getpid(), child.pid])
            reply(request, {"content": [{"type": "text", "text": text}]})
        case _:
            reply(request, {"content": TEXT})


def main() -> None:
    if MODE == "die at start":
        print("the reason of its death", file=sys.stderr)
        sys.exit(5)
    if MODE == "hang at start":
        time.sleep(1_000)
    if MODE == "grandchild":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if MODE == "chatty":
        print("Welcome to the server!")
        print("It is \x1b[31mred\x1b[0m", file=sys.stderr)
        for number in range(2_000):
            print(f"line {number}", file=sys.stderr)
    for line in sys.stdin:
        request = json.loads(line)
        match request.get("method"):
            case "initialize":
                facts = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": True}}}
                reply(request, {**facts, "serverInfo": {"name": "hostile", "version": "1"}})
            case "tools/list":
                if MODE == "pinned":
                    listed = {"tools": [{**tool("call"), "description": Path(WORDS[0]).read_text()}, tool("other")]}
                    reply(request, listed)
                else:
                    reply(request, tools((request.get("params") or {}).get("cursor")))
            case "tools/call":
                call(request)
            case _ if "id" in request and "method" in request:
                refuse(request, "no such method")
    if MODE == "grandchild":
        # The end of its input is no reason to end.
        time.sleep(1_000)


if __name__ == "__main__":
    main()
