"""Processes that are forked: after a bridge was closed, while one is open, and by tools of a hub and a worker."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from grpc_tool_bridge import GRPCToolBridge

HERE = Path(__file__).parent
TOOLS = HERE / "forking_tools.py"
# Bounds a hang and nothing else.
PATIENCE = 50.0

# What the programs below have in common.
COMMON = '''
import asyncio, multiprocessing, os, signal, sys
from grpc_tool_bridge import BridgeServer, GRPCToolBridge, ProtocolError, ToolWorker

ADDRESS, TRANSPORT, *REST = sys.argv[1:]

def make():
    return GRPCToolBridge(ADDRESS, transport=TRANSPORT)

async def use(number):
    async with make() as bridge:
        await bridge.initialize()
        assert await bridge.tools["add"](number, 1) == number + 1
        assert [item async for item in bridge.tools["add"].stream(number)] == [number]
        await bridge.session_context.set_variable("n", number)
        kept = asyncio.create_task(bridge.client.health_check())
        await kept

def in_fork(work):
    """Runs in a forked process; gives its exit status."""
    pid = os.fork()
    if not pid:
        signal.alarm(40)
        code = 3
        try:
            code = work() or 0
        except BaseException as error:
            print("child:", repr(error), file=sys.stderr)
        finally:
            sys.stdout.flush()
            os._exit(code)
    return os.waitpid(pid, 0)[1]

def refused(work, words):
    try:
        asyncio.run(asyncio.wait_for(work(), 20))
    except ProtocolError as error:
        assert words in str(error), error
        return
    raise AssertionError("it was not refused")
'''


def program(text: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"GRPC_VERBOSITY": "NONE"}
    with tempfile.TemporaryDirectory() as empty:
        if arguments[1:2] == ("link",):
            # It finds no local socket, and so uses gRPC.
            environment |= {"XDG_RUNTIME_DIR": "", "TMPDIR": empty}
        return subprocess.run(
            [sys.executable, "-c", COMMON + text, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            env=environment,
        )


@pytest.fixture(scope="module")
def hub() -> Iterator[str]:
    """A hub in a process of its own."""
    words = [sys.executable, str(HERE.parent / "attacks" / "hub_process.py"), json.dumps({"tools": [], "settings": {}})]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address, _ = process.stdout.readline().split()
        yield address
        process.communicate(timeout=PATIENCE)


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


@pytest.mark.parametrize("transport", ["rpc", "link", "socket"])
def test_a_child_has_its_own_bridge_after_that_of_the_parent_was_closed(hub: str, transport: str) -> None:
    check(
        program(
            """
import gc
# What is left to the collector would be there by chance.
gc.disable()
for round in range(6):
    asyncio.run(use(round))
    # Nothing of gRPC's is left, which only then works in a child.
    while os.path.isdir("/proc/self/task") and len(os.listdir("/proc/self/task")) > 1:
        pass
    assert in_fork(lambda: asyncio.run(use(round))) == 0
    assert in_fork(lambda: in_fork(lambda: asyncio.run(use(round)))) == 0
print("done")
""",
            hub,
            transport,
        )
    )


@pytest.mark.parametrize("transport", ["rpc", "link", "socket"])
def test_an_error_that_somebody_keeps_does_not_keep_the_channel(hub: str, transport: str) -> None:
    check(
        program(
            """
kept = []

async def fail():
    async with make() as bridge:
        await bridge.initialize()
        for call in (lambda: bridge.call_tool("nothing"), lambda: bridge.session_context.get_variable("nothing"),
                     lambda: asyncio.wait_for(bridge.client.refresh_tools(), 0)):
            try:
                await call()
            except Exception as error:
                kept.append(error)
    me = kept
    loop = [me, kept]
    loop.append(loop)

asyncio.run(fail())
assert in_fork(lambda: asyncio.run(use(1))) == 0
print("done")
""",
            hub,
            transport,
        )
    )


@pytest.mark.parametrize("transport", ["rpc", "link", "socket"])
def test_multiprocessing_by_fork_works_between_the_lives_of_bridges(hub: str, transport: str) -> None:
    check(
        program(
            """
def work(number):
    asyncio.run(use(number))
    return number

asyncio.run(use(0))
for _ in range(3):
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(work, range(6)) == list(range(6))
    make_sync = make().sync
    make_sync.initialize()
    make_sync.close()
print("done")
""",
            hub,
            transport,
        )
    )


@pytest.mark.parametrize("transport", ["rpc", "link", "socket"])
def test_a_bridge_that_was_open_is_refused_in_the_child_and_serves_the_parent(hub: str, transport: str) -> None:
    check(
        program(
            """
async def main():
    bridge = make()
    await bridge.initialize()
    proxy = bridge.tools["add"]

    def child():
        refused(lambda: proxy(1, 2), "was opened before this process was forked")
        refused(bridge.initialize, "was opened before this process was forked")
        refused(lambda: bridge.session_context.get_variable("n"), "was opened before this process was forked")
        if TRANSPORT == "socket":
            # Nothing of gRPC's was active.
            asyncio.run(use(1))
        else:
            refused(lambda: use(1), "was forked while a bridge, a worker or a hub was open")
        asyncio.run(bridge.close())
        asyncio.run(bridge.close())

    for number in range(3):
        assert await asyncio.to_thread(in_fork, child) == 0
        assert in_fork(child) == 0
        assert await proxy(number, 1) == number + 1
    await bridge.close()

asyncio.run(main())
# Closed, it is no hindrance any more.
assert in_fork(lambda: asyncio.run(use(1))) == 0
print("done")
""",
            hub,
            transport,
        )
    )


@pytest.mark.parametrize("transport", ["rpc", "link", "socket"])
def test_a_blocking_view_is_refused_in_the_child_and_serves_the_parent(hub: str, transport: str) -> None:
    check(
        program(
            """
bridge = make()
view = bridge.sync
view.initialize()
add = view.tools["add"]

def child():
    for call in (lambda: add(1, 2), lambda: view.call_tool("add", 1), lambda: bridge.sync.tools["add"](1)):
        try:
            call()
        except ProtocolError as error:
            assert "was opened before this process was forked" in str(error), error
        else:
            raise AssertionError("it was not refused")

assert in_fork(child) == 0
assert add(1, 2) == 3
view.close()
print("done")
""",
            hub,
            transport,
        )
    )


def test_a_hub_and_a_worker_that_were_open_are_refused_in_the_child(hub: str) -> None:
    check(
        program(
            """
def twice(x: int) -> int:
    return 2 * x

async def main():
    async with BridgeServer(tools=[twice]) as server, ToolWorker(ADDRESS, tools=[twice]):
        local = server.bridge()
        await local.initialize()

        def child():
            refused(lambda: local.call_tool("twice", 1), "was opened before this process was forked")
            refused(BridgeServer(tools=[twice]).start, "was forked while a bridge, a worker or a hub was open")
            refused(ToolWorker(ADDRESS, tools=[twice]).start, "was forked while a bridge, a worker or a hub was open")

        assert in_fork(child) == 0
        assert await local.call_tool("twice", 2) == 4
        await local.close()

asyncio.run(main())

async def serve():
    async with BridgeServer(tools=[twice]) as server, GRPCToolBridge(server.address) as bridge:
        assert await (await bridge.initialize())["twice"](2) == 4

assert in_fork(lambda: asyncio.run(serve())) == 0
print("done")
""",
            hub,
            "link",
        )
    )


def test_a_value_is_written_in_a_thread_of_the_childs_own(hub: str) -> None:
    check(
        program(
            """
class Spelled:
    def __str__(self):
        return "spelled"

async def write():
    async with make() as bridge:
        await bridge.initialize()
        await bridge.session_context.set_variable("s", Spelled())
        assert await bridge.session_context.get_variable("s") == "spelled"

asyncio.run(write())
assert in_fork(lambda: asyncio.run(write())) == 0
print("done")
""",
            hub,
            "link",
        )
    )


# ---------------------------------------------------------------------------------------------- prefork servers

PREFORK = """
def serve(number):
    # Each worker process makes its own once it was forked, and keeps it for all its requests.
    async def requests():
        async with make() as bridge:
            await bridge.initialize()
            for request in range(20):
                assert await bridge.tools["add"](request, number) == request + number
    asyncio.run(requests())
    os._exit(0)

def workers(count):
    children = []
    for number in range(count):
        pid = os.fork()
        if not pid:
            signal.alarm(40)
            serve(number)
        children.append(pid)
    return [os.waitpid(pid, 0)[1] for pid in children]

if "preload" in REST:
    # As gunicorn --preload: the application is imported, and may ask the hub, before the workers are forked.
    asyncio.run(use(1))
assert workers(4) == [0] * 4
# A worker that ends is replaced.
assert workers(2) == [0] * 2
print("done")
"""


@pytest.mark.parametrize("transport", ["rpc", "link", "socket"])
@pytest.mark.parametrize("preload", ["preload", "plain"])
def test_the_workers_of_a_prefork_server_have_bridges_of_their_own(hub: str, transport: str, preload: str) -> None:
    check(program(PREFORK, hub, transport, preload))


# ------------------------------------------------------------------------------------------ tools that fork


@contextmanager
def serving(*words: str) -> Iterator[tuple["subprocess.Popen[str]", dict[str, object]]]:
    """Runs a command that says in a line of JSON that it serves."""
    command = [sys.executable, "-m", "grpc_tool_bridge.cli", *words, "--json"]
    environment = os.environ | {"GRPC_VERBOSITY": "NONE"}
    # As a terminal starts it: what runs the tests may have the interrupt ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        assert process.stdout is not None
        yield process, json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait(PATIENCE)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def offered(by: str, hub: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Offers the tools by a hub or a worker; gives its process, and the address of the hub."""
    words = ["serve", "--address", "127.0.0.1:0", "--tools", str(TOOLS)]
    if by == "worker":
        words = ["worker", "--address", hub, str(TOOLS)]
    with serving(*words) as (process, facts):
        yield process, str(facts["address"]) if by == "serve" else hub


@pytest.mark.parametrize("by", ["serve", "worker"])
@pytest.mark.parametrize(("tool", "arguments"), [("fork", ()), ("fork_in_loop", ()), ("start_process", (False,))])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_what_a_tool_has_forked(
    hub: str, by: str, tool: str, arguments: tuple[bool, ...], number: signal.Signals
) -> None:
    with offered(by, hub) as (_, address), GRPCToolBridge(address).sync as bridge:
        bridge.initialize()
        pid = bridge.call_tool(tool, *arguments)
        os.kill(pid, number)
        assert bridge.call_tool("reap", pid) == number


@pytest.mark.parametrize("by", ["serve", "worker"])
@pytest.mark.parametrize("tool", ["fork", "fork_in_loop"])
def test_what_was_forked_ends_where_it_leaves_its_tool(hub: str, by: str, tool: str) -> None:
    with offered(by, hub) as (_, address), GRPCToolBridge(address).sync as bridge:
        bridge.initialize()
        assert bridge.call_tool("reap", bridge.call_tool(tool, leaves=True)) == 0


@pytest.mark.parametrize("by", ["serve", "worker"])
@pytest.mark.parametrize("tool", ["fork_in_loop_and_wait", "fork_in_process", "fork_in_stream"])
def test_what_was_forked_ends_where_its_tool_goes_on(hub: str, by: str, tool: str) -> None:
    with offered(by, hub) as (_, address), GRPCToolBridge(address).sync as bridge:
        bridge.initialize()
        for _ in range(3):
            assert bridge.call_tool(tool) in (1, [1])


@pytest.mark.parametrize("by", ["serve", "worker"])
@pytest.mark.parametrize(
    ("tool", "arguments"), [("fork", ()), ("fork_in_loop", ()), ("start_process", (False,)), ("start_process", (True,))]
)
def test_it_ends_and_frees_its_address_while_what_a_tool_has_forked_lives(
    hub: str, by: str, tool: str, arguments: tuple[bool, ...]
) -> None:
    with offered(by, hub) as (process, address):
        with GRPCToolBridge(address).sync as bridge:
            bridge.initialize()
            pid = bridge.call_tool(tool, *arguments)
        try:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
            if by == "serve":
                host, _, port = address.rpartition(":")
                with socket.create_server((host, int(port))):
                    pass
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("by", ["serve", "worker"])
def test_a_context_is_refused_in_a_process_that_its_tool_has_forked(hub: str, by: str) -> None:
    with offered(by, hub) as (_, address), GRPCToolBridge(address).sync as bridge:
        bridge.initialize()
        text = bridge.call_tool("ask_in_child")
        assert text.startswith("ProtocolError: ")
        assert "before this process was forked" in text
