"""Whatever is passed wrongly to the public API is refused in the bridge's words."""

import inspect
import math
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import grpc_tool_bridge
from grpc_tool_bridge import (
    GRPCToolBridge,
    LocalToolBridge,
    ProtocolError,
    SessionConfig,
    Settings,
    Tool,
    ToolContext,
    ToolSpec,
    ValidationError,
    step,
    tool,
)
from grpc_tool_bridge.config.argument_checks import (
    check_count,
    check_flag,
    check_seconds,
    check_text,
    check_timeout,
    message_of,
)
from grpc_tool_bridge.errors import ArgumentTypeError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import VariableMetadata

# Its annotations are right: a type checker would say of each line here what the bridge says.
wrong: Any = grpc_tool_bridge

NAN = math.nan
# Of Python's own texts, and of protobuf's.
NOT_OURS = [
    "bad argument type",
    "unsupported operand",
    "not supported between",
    "object is not",
    "object cannot be",
    "has no attribute",
    "must be a mapping",
    "to unpack",
    "out of range",
    "Expected an int",
    "Protocol message",
    "keywords must be",
    "unhashable",
]


async def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


async def count(n: int) -> AsyncIterator[int]:
    """Counts."""
    for number in range(n):
        yield number


class SomeClass:
    """Nothing that the bridge knows."""


@pytest.fixture
async def world() -> AsyncIterator[SimpleNamespace]:
    async with LocalToolBridge([add, count]) as bridge:
        await bridge.initialize("mine")
        yield SimpleNamespace(
            bridge=bridge, client=bridge.client, variables=bridge.session_context, add=bridge.tools["add"]
        )


async def _all(given: Any) -> Any:
    """Does with what a method gives what a program does: awaits it, or iterates over it."""
    if inspect.isawaitable(given):
        return await given
    return [item async for item in given] if hasattr(given, "__aiter__") else given


def _assert_ours(error: BaseException, words: str) -> None:
    assert isinstance(error, ValidationError | TypeError | ValueError)
    text = str(error)
    assert words in text
    assert "\n" not in text
    assert len(text) < 400
    assert not [other for other in NOT_OURS if other in text]


A_TIMEOUT = "a number of seconds, above 0 and below 24 days"
A_DURATION = "a number of seconds, 0 or more"
A_WHOLE_NUMBER = "a whole number, 0 or more"

# What is called, with what, and what the refusal says.
CALLS: list[tuple[str, Callable[[Any], Any], str]] = [
    # ---------------------------------------------------------------------------------------------------- a session
    ("initialize(5)", lambda w: w.bridge.initialize(5), "session_id is 5; it must be a text of 1 to 256 characters"),
    ("initialize(b'x')", lambda w: w.bridge.initialize(b"x"), "session_id is b'x'"),
    ("initialize(['x'])", lambda w: w.bridge.initialize(["x"]), "session_id is ['x']"),
    ("initialize('')", lambda w: w.bridge.initialize(""), "session_id is ''"),
    ("initialize(str)", lambda w: w.bridge.initialize(str), "session_id is the class str"),
    ("initialize(half a pair)", lambda w: w.bridge.initialize("\ud800"), "without lone surrogates"),
    (
        "metadata of an int",
        lambda w: w.bridge.initialize(metadata={"a": 1}),
        "metadata['a'] is 1; it must be a text; write '1'",
    ),
    ("metadata of None", lambda w: w.bridge.initialize(metadata={"a": None}), "metadata['a'] is None"),
    ("metadata by int", lambda w: w.bridge.initialize(metadata={1: "a"}), "a key of metadata is 1"),
    ("metadata as a text", lambda w: w.bridge.initialize(metadata="x"), "metadata is 'x'; it must be a dict of texts"),
    ("metadata as pairs", lambda w: w.bridge.initialize(metadata=[("a", "b")]), "metadata is [('a', 'b')]"),
    ("config as an int", lambda w: w.bridge.initialize(config=5), "config is 5; it must be a SessionConfig or a dict"),
    ("config as the class", lambda w: w.bridge.initialize(config=SessionConfig), "config is the class SessionConfig"),
    (
        "config of another field",
        lambda w: w.bridge.initialize(config={"nope": 1}),
        "config has no 'nope'; its fields are",
    ),
    (
        "config of a wrong field",
        lambda w: w.bridge.initialize(config={"enable_caching": "no"}),
        "config['enable_caching'] is 'no'; it must be True or False",
    ),
    (
        "connect_timeout='3'",
        lambda w: w.bridge.initialize(connect_timeout="3"),
        f"connect_timeout is '3'; it must be {A_DURATION}",
    ),
    ("connect_timeout=None", lambda w: w.bridge.initialize(connect_timeout=None), "connect_timeout is None"),
    ("connect_timeout=-1", lambda w: w.bridge.initialize(connect_timeout=-1), "connect_timeout is -1"),
    ("connect_timeout=nan", lambda w: w.bridge.initialize(connect_timeout=NAN), "connect_timeout is nan"),
    ("initialize_session(5)", lambda w: w.client.initialize_session(5), "session_id is 5"),
    (
        "cleanup_session(force='x')",
        lambda w: w.client.cleanup_session(force="x"),
        "force is 'x'; it must be True or False",
    ),
    ("connect('3')", lambda w: w.client.connect("3"), f"seconds is '3'; it must be {A_DURATION}"),
    # ------------------------------------------------------------------------------------------------------ options
    ("timeout='3'", lambda w: w.add.with_options(timeout="3"), f"add: the timeout is '3'; it must be {A_TIMEOUT}"),
    ("timeout=True", lambda w: w.add.with_options(timeout=True), "the timeout is True"),
    (
        "timeout=0",
        lambda w: w.add.with_options(timeout=0),
        "add: the timeout is 0 s; it must be above 0 and below 24 days",
    ),
    ("timeout=-1", lambda w: w.add.with_options(timeout=-1), "the timeout is -1"),
    ("timeout=nan", lambda w: w.add.with_options(timeout=NAN), "the timeout is nan"),
    ("timeout=inf", lambda w: w.add.with_options(timeout=math.inf), "the timeout is inf"),
    ("timeout=[3]", lambda w: w.add.with_options(timeout=[3]), "the timeout is [3]"),
    ("timeout=Decimal", lambda w: w.add.with_options(timeout=Decimal(3)), "the timeout is Decimal('3')"),
    (
        "options' metadata",
        lambda w: w.add.with_options(metadata={"a": 1}),
        "metadata['a'] is 1; it must be a text; write '1'",
    ),
    ("options' metadata as a text", lambda w: w.add.with_options(metadata="x"), "metadata is 'x'"),
    ("options' metadata by int", lambda w: w.add.with_options(metadata={1: "a"}), "a key of metadata is 1"),
    ("idempotency_key=5", lambda w: w.add.with_options(idempotency_key=5), "idempotency_key is 5; it must be a text"),
    ("on_progress=5", lambda w: w.add.with_options(on_progress=5), "on_progress is 5"),
    ("on_log='x'", lambda w: w.add.with_options(on_log="x"), "on_log is 'x'"),
    ("on_progress async", lambda w: w.add.with_options(on_progress=add), "a plain function and not an async one"),
    # -------------------------------------------------------------------------------------------------------- calls
    ("call_tool(5)", lambda w: w.bridge.call_tool(5), "tool_id is 5; it must be a tool's name or id"),
    ("call_tool(None)", lambda w: w.bridge.call_tool(None), "tool_id is None"),
    ("call_tool('')", lambda w: w.bridge.call_tool(""), "tool_id is ''"),
    ("call_tool(['add'])", lambda w: w.bridge.call_tool(["add"]), "tool_id is ['add']"),
    ("call_tool(proxy)", lambda w: w.bridge.call_tool(w.add, 1, 2), "a tool itself is called: await tool(…)"),
    ("call_tool(function)", lambda w: w.bridge.call_tool(add, 1, 2), "it must be a tool's name or id"),
    (
        "call_tool(coroutine)",
        lambda w: w.bridge.call_tool(add(1, 2)),
        "tool_id is the coroutine add(); it must be a tool's name or id",
    ),
    (
        "args=5",
        lambda w: w.bridge.call_tool("add", args=5),
        "args is 5; it must be a list of the arguments by position",
    ),
    ("args=0", lambda w: w.bridge.call_tool("add", args=0), "args is 0"),
    ("args='12'", lambda w: w.bridge.call_tool("add", args="12"), "args is '12'"),
    ("args as a dict", lambda w: w.bridge.call_tool("add", args={"a": 1}), "args is {'a': 1}"),
    (
        "kwargs as a list",
        lambda w: w.bridge.call_tool("add", kwargs=[1]),
        "kwargs is [1]; it must be a dict of the arguments by name",
    ),
    ("kwargs as a text", lambda w: w.bridge.call_tool("add", kwargs="ab"), "kwargs is 'ab'"),
    ("kwargs by int", lambda w: w.bridge.call_tool("add", kwargs={1: 2}), "a key of kwargs is 1"),
    (
        "kwargs twice",
        lambda w: w.bridge.call_tool("add", b=1, kwargs={"b": 2}),
        "b was given twice: by name, and in kwargs",
    ),
    ("client.call_tool(5)", lambda w: w.client.call_tool(5), "tool_id is 5"),
    ("client.tool(5)", lambda w: w.client.tool(5), "tool_id is 5"),
    ("stream_tool(None)", lambda w: w.bridge.stream_tool(None), "tool_id is None"),
    # ------------------------------------------------------------------------------------------------------ batches
    ("batch of a text", lambda w: w.bridge.execute_batch("x"), "the batch is 'x'; it must be a list of calls"),
    ("batch of one call", lambda w: w.bridge.execute_batch({"tool_id": "add"}), "it must be a list of calls"),
    ("batch of None", lambda w: w.bridge.execute_batch(None), "the batch is None"),
    ("batch of 5", lambda w: w.bridge.execute_batch(5), "the batch is 5"),
    ("item 5", lambda w: w.bridge.execute_batch([5]), "item 0 of the batch is 5; it must be a dict such as"),
    ("item ('add', [1, 2])", lambda w: w.bridge.execute_batch([("add", [1, 2])]), "it must be a dict such as"),
    (
        "item of a coroutine",
        lambda w: w.bridge.execute_batch([w.add(1, 2)]),
        "is the coroutine AsyncGRPCProxyTool.__call__()",
    ),
    (
        "item without tool_id",
        lambda w: w.bridge.execute_batch([{}]),
        "item 0 of the batch is not a call: it needs a 'tool_id'",
    ),
    ("item of other keys", lambda w: w.bridge.execute_batch([{"tool_id": "add", "x": 1, 5: 1}]), "has ['5', 'x']"),
    (
        "item's args as a text",
        lambda w: w.bridge.execute_batch([{"tool_id": "add", "args": "ab"}]),
        "args of item 0 of the batch is 'ab'",
    ),
    (
        "item's args=0",
        lambda w: w.bridge.execute_batch([{"tool_id": "add", "args": 0}]),
        "args of item 0 of the batch is 0",
    ),
    (
        "item's kwargs by int",
        lambda w: w.bridge.execute_batch([{"tool_id": "add", "kwargs": {1: 2}}]),
        "a key of kwargs of item 0",
    ),
    (
        "parallel='no'",
        lambda w: w.bridge.execute_batch([], parallel="no"),
        "parallel is 'no'; it must be True or False",
    ),
    (
        "stop_on_error=1",
        lambda w: w.bridge.execute_batch([], stop_on_error=1),
        "stop_on_error is 1; it must be True or False",
    ),
    (
        "max_parallel='2'",
        lambda w: w.bridge.execute_batch([], max_parallel="2"),
        f"max_parallel is '2'; it must be {A_WHOLE_NUMBER}",
    ),
    ("max_parallel=2.5", lambda w: w.bridge.execute_batch([], max_parallel=2.5), "max_parallel is 2.5"),
    ("max_parallel=True", lambda w: w.bridge.execute_batch([], max_parallel=True), "max_parallel is True"),
    ("max_parallel=-1", lambda w: w.bridge.execute_batch([], max_parallel=-1), "max_parallel is -1"),
    ("max_parallel=2**40", lambda w: w.bridge.execute_batch([], max_parallel=2**40), "up to 2,147,483,647"),
    (
        "batch timeout=None",
        lambda w: w.bridge.execute_batch([], timeout=None),
        f"timeout is None; it must be {A_TIMEOUT}",
    ),
    ("batch timeout='3'", lambda w: w.bridge.execute_batch([], timeout="3"), "timeout is '3'"),
    ("batch timeout=nan", lambda w: w.bridge.execute_batch([], timeout=NAN), "timeout is nan"),
    # ------------------------------------------------------------------------------------------------------ retries
    ("retry(5)", lambda w: w.bridge.execute_with_retry(5, 1, 2), "tool_id is 5"),
    (
        "retry(function)",
        lambda w: w.bridge.execute_with_retry(add, 1, 2),
        "or one of bridge.tools; its arguments follow it",
    ),
    ("retry(coroutine)", lambda w: w.bridge.execute_with_retry(w.add(1, 2)), "is the coroutine"),
    (
        "max_retries='3'",
        lambda w: w.bridge.execute_with_retry("add", 1, 2, max_retries="3"),
        f"max_retries is '3'; it must be {A_WHOLE_NUMBER}",
    ),
    ("max_retries=2.5", lambda w: w.bridge.execute_with_retry("add", 1, 2, max_retries=2.5), "max_retries is 2.5"),
    ("max_retries=True", lambda w: w.bridge.execute_with_retry("add", 1, 2, max_retries=True), "max_retries is True"),
    ("max_retries=None", lambda w: w.bridge.execute_with_retry("add", 1, 2, max_retries=None), "max_retries is None"),
    ("max_retries=-1", lambda w: w.bridge.execute_with_retry("add", 1, 2, max_retries=-1), "max_retries is -1"),
    # ------------------------------------------------------------------------------------------------------- agents
    ("signature 5", lambda w: w.bridge.create_react_agent(5), "signature is 5"),
    (
        "tool_names='add'",
        lambda w: w.bridge.create_react_agent("q -> a", "add"),
        "tool_names is 'add'; it must be a list of names",
    ),
    ("tool_names=5", lambda w: w.bridge.create_react_agent("q -> a", 5), "tool_names is 5"),
    (
        "tool_names=[5]",
        lambda w: w.bridge.create_react_agent("q -> a", [5]),
        "one of tool_names is 5; it must be a tool's name",
    ),
    ("tool_names=[proxy]", lambda w: w.bridge.create_react_agent("q -> a", [w.add]), "one of tool_names is <"),
    ("max_iters='5'", lambda w: w.bridge.create_react_agent("q -> a", max_iters="5"), "max_iters is '5'"),
    ("max_iters=True", lambda w: w.bridge.create_react_agent("q -> a", max_iters=True), "max_iters is True"),
    ("max_iters=0", lambda w: w.bridge.create_react_agent("q -> a", max_iters=0), "max_iters must be 1 or more, not 0"),
    ("llm_config='x'", lambda w: w.bridge.create_react_agent("q -> a", llm_config="x"), "llm_config is 'x'"),
    (
        "llm_config by int",
        lambda w: w.bridge.create_react_agent("q -> a", llm_config={1: 2}),
        "a key of llm_config is 1",
    ),
    ("run of a text", lambda w: w.bridge.execute_agent_streaming("x"), "the request is 'x'; it must be a dict"),
    ("run of no keys", lambda w: w.bridge.execute_agent_streaming({}), "a run needs the agent_id"),
    ("run of other keys", lambda w: w.bridge.execute_agent_streaming({"agent": 1, 5: 1}), "it was given 5, agent"),
    ("input as a text", lambda w: w.bridge.execute_agent_streaming({"agent_id": "a", "input": "x"}), "input is 'x'"),
    (
        "input by int",
        lambda w: w.bridge.execute_agent_streaming({"agent_id": "a", "input": {1: 2}}),
        "a key of input is 1",
    ),
    (
        "context by int",
        lambda w: w.bridge.execute_agent_streaming({"agent_id": "a", "input": {}, "context": {1: 2}}),
        "a key of context is 1",
    ),
    (
        "run timeout=nan",
        lambda w: w.bridge.execute_agent_streaming({"agent_id": "a", "input": {}, "timeout": NAN}),
        "the timeout is nan",
    ),
    ("cancel_agent_run(5)", lambda w: w.bridge.cancel_agent_run(5), "run_id is 5; it must be the id of a run"),
    ("cancel_agent_run(None)", lambda w: w.bridge.cancel_agent_run(None), "run_id is None"),
    # ---------------------------------------------------------------------------------------------------- variables
    ("get_variable(5)", lambda w: w.variables.get_variable(5), "name is 5; it must be the name of a variable"),
    ("get_variable(None)", lambda w: w.variables.get_variable(None), "name is None"),
    ("get_variable_with_metadata(5)", lambda w: w.variables.get_variable_with_metadata(5), "name is 5"),
    ("set_variable(5)", lambda w: w.variables.set_variable(5, 1), "name is 5"),
    (
        "variable's metadata as a text",
        lambda w: w.variables.set_variable("x", 1, "x"),
        "metadata is 'x'; it must be a VariableMetadata or a dict",
    ),
    (
        "variable's metadata of another field",
        lambda w: w.variables.set_variable("x", 1, {"nope": 1}),
        "metadata has no 'nope'; its fields are",
    ),
    (
        "variable's tags as a list",
        lambda w: w.variables.set_variable("x", 1, {"tags": ["a"]}),
        "metadata['tags'] is ['a']; it must be a dict of texts",
    ),
    (
        "variable's type 5",
        lambda w: w.variables.set_variable("x", 1, {"type": 5}),
        "metadata['type'] is 5; it must be a text",
    ),
    (
        "variable's secret 'yes'",
        lambda w: w.variables.set_variable("x", 1, {"secret": "yes"}),
        "it must be True or False",
    ),
    (
        "expected_revision='1'",
        lambda w: w.variables.set_variable("x", 1, expected_revision="1"),
        "expected_revision is '1'",
    ),
    (
        "expected_revision=-1",
        lambda w: w.variables.set_variable("x", 1, expected_revision=-1),
        "expected_revision is -1",
    ),
    (
        "expected_revision=True",
        lambda w: w.variables.set_variable("x", 1, expected_revision=True),
        "expected_revision is True",
    ),
    (
        "create_if_missing='no'",
        lambda w: w.variables.set_variable("x", 1, create_if_missing="no"),
        "create_if_missing is 'no'",
    ),
    ("delete_variable(5)", lambda w: w.variables.delete_variable(5), "name is 5"),
    (
        "delete_variable's revision",
        lambda w: w.variables.delete_variable("x", expected_revision=1.5),
        "expected_revision is 1.5",
    ),
    ("list_variables(5)", lambda w: w.variables.list_variables(5), "prefix is 5; it must be a text"),
    ("tags='abc'", lambda w: w.variables.list_variables(tags="abc"), "tags is 'abc'; it must be a list of texts"),
    ("tags=[5]", lambda w: w.variables.list_variables(tags=[5]), "one of tags is 5"),
    ("tags={}", lambda w: w.variables.list_variables(tags={"k": "v"}), "tags is {'k': 'v'}"),
    ("limit='5'", lambda w: w.variables.list_variables(limit="5"), "limit is '5'"),
    ("limit=-1", lambda w: w.variables.list_variables(limit=-1), "limit is -1; it must be 0 (all) or more"),
    (
        "watch_variables(['x'])",
        lambda w: w.variables.watch_variables(["x"]),
        "pass each name as its own argument: watch_variables('x')",
    ),
    ("watch_variables(5)", lambda w: w.variables.watch_variables(5), "a name is 5"),
    ("watch_variables(None)", lambda w: w.variables.watch_variables(None), "a name is None"),
    ("include_initial='no'", lambda w: w.variables.watch_variables(include_initial="no"), "include_initial is 'no'"),
    ("from_revision='5'", lambda w: w.variables.watch_variables(from_revision="5"), "from_revision is '5'"),
    ("from_revision=-1", lambda w: w.variables.watch_variables(from_revision=-1), "from_revision is -1"),
    ("epoch=5", lambda w: w.variables.watch_variables(epoch=5), "epoch is 5; it must be a text"),
    ("get_metrics(5)", lambda w: w.client.get_metrics(5), "a name is 5"),
    (
        "get_metrics(['a'])",
        lambda w: w.client.get_metrics(["a"]),
        "pass each name as its own argument: get_metrics('a')",
    ),
    ("openai_tools(api='x')", lambda w: w.bridge.openai_tools(api="x"), "api must be 'chat' or 'responses', not 'x'"),
]


@pytest.mark.parametrize(("call", "words"), [case[1:] for case in CALLS], ids=[case[0] for case in CALLS])
async def test_a_call_with_a_wrong_argument_says_which_and_what_it_is(
    world: SimpleNamespace, call: Callable[[Any], Any], words: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        await _all(call(world))
    _assert_ours(caught.value, words)
    # It has done nothing, and what is right goes on as before.
    assert world.bridge.session_id == "mine"
    assert await world.add(1, 2) == 3


MAKERS: list[tuple[str, Callable[[], Any], str]] = [
    ("GRPCToolBridge(5)", lambda: wrong.GRPCToolBridge(5), "5 is not a valid address"),
    ("GRPCToolBridge(None)", lambda: wrong.GRPCToolBridge(None), "None is not a valid address"),
    ("GRPCToolBridge(bytes)", lambda: wrong.GRPCToolBridge(b"h:1"), "b'h:1' is not a valid address"),
    ("GRPCToolBridge(list)", lambda: wrong.GRPCToolBridge(["h:1"]), "['h:1'] is not a valid address"),
    ("GRPCToolBridge(tuple)", lambda: wrong.GRPCToolBridge(("h", 1)), "('h', 1) is not a valid address"),
    ("GRPCToolBridge('')", lambda: wrong.GRPCToolBridge(""), "'' is not a valid address; write host:port"),
    (
        "GRPCToolBridge(no port)",
        lambda: wrong.GRPCToolBridge("localhost"),
        "'localhost' is not a valid address; write host:port",
    ),
    ("GRPCToolBridge(port 99999)", lambda: wrong.GRPCToolBridge("h:99999"), "a port is at most 65535"),
    ("GRPCToolBridge(http)", lambda: wrong.GRPCToolBridge("http://h:5"), "leave http:// out: h:5"),
    (
        "GRPCToolBridge(timeout='3')",
        lambda: wrong.GRPCToolBridge("h:1", timeout="3"),
        f"timeout is '3'; it must be {A_TIMEOUT}",
    ),
    ("GRPCToolBridge(timeout=0)", lambda: wrong.GRPCToolBridge("h:1", timeout=0), "timeout is 0"),
    ("GRPCToolBridge(timeout=True)", lambda: wrong.GRPCToolBridge("h:1", timeout=True), "timeout is True"),
    ("GRPCToolBridge(timeout=nan)", lambda: wrong.GRPCToolBridge("h:1", timeout=NAN), "timeout is nan"),
    (
        "GRPCToolBridge(stream_timeout=-1)",
        lambda: wrong.GRPCToolBridge("h:1", stream_timeout=-1),
        "stream_timeout is -1",
    ),
    (
        "GRPCToolBridge(token=5)",
        lambda: wrong.GRPCToolBridge("h:1", token=5),
        "token is of type int; it must be a text",
    ),
    ("GRPCToolBridge(token=bytes)", lambda: wrong.GRPCToolBridge("h:1", token=b"t"), "token is of type bytes"),
    (
        "GRPCToolBridge(token_file=5)",
        lambda: wrong.GRPCToolBridge("h:1", token_file=5),
        "token_file is 5; it must be the path",
    ),
    (
        "GRPCToolBridge(tls='yes')",
        lambda: wrong.GRPCToolBridge("h:1", tls="yes"),
        "tls is 'yes'; it must be True or False",
    ),
    (
        "GRPCToolBridge(tls_ca=5)",
        lambda: wrong.GRPCToolBridge("h:1", tls_ca=5),
        "tls_ca is 5; it must be the path of a file",
    ),
    (
        "GRPCToolBridge(limit='10MB')",
        lambda: wrong.GRPCToolBridge("h:1", max_message_bytes="10MB"),
        "max_message_bytes is '10MB'",
    ),
    (
        "GRPCToolBridge(limit=-1)",
        lambda: wrong.GRPCToolBridge("h:1", max_message_bytes=-1),
        "a whole number, 1 or more",
    ),
    (
        "GRPCToolBridge(transport=[])",
        lambda: wrong.GRPCToolBridge("h:1", transport=[]),
        "transport must be 'link', 'socket' or 'rpc', not []",
    ),
    ("GRPCToolBridge(retry_if=3)", lambda: wrong.GRPCToolBridge("h:1", retry_if=3), "retry_if is 3"),
    ("GRPCToolBridge(retry_if async)", lambda: wrong.GRPCToolBridge("h:1", retry_if=add), "not an async one"),
    (
        "GRPCToolBridge(on_tools_changed=3)",
        lambda: wrong.GRPCToolBridge("h:1", on_tools_changed=3),
        "on_tools_changed is 3",
    ),
    (
        "GRPCToolBridge(on_session_renewed='x')",
        lambda: wrong.GRPCToolBridge("h:1", on_session_renewed="x"),
        "on_session_renewed is 'x'",
    ),
    ("GRPCToolBridge(keep_session='x')", lambda: wrong.GRPCToolBridge("h:1", keep_session="x"), "keep_session is 'x'"),
    ("GRPCToolBridge(follow_tools=1)", lambda: wrong.GRPCToolBridge("h:1", follow_tools=1), "follow_tools is 1"),
    ("ToolBridge('h:1')", lambda: wrong.ToolBridge("h:1"), "client is 'h:1'; it must be a ToolBridgeClient"),
    (
        "ToolBridgeClient(5)",
        lambda: wrong.ToolBridgeClient(5),
        "target is 5; it must be 'host:port', a grpc.aio.Channel",
    ),
    ("ToolBridgeClient(None)", lambda: wrong.ToolBridgeClient(None), "target is None"),
    (
        "ToolBridgeClient(bridge)",
        lambda: wrong.ToolBridgeClient(GRPCToolBridge("h:1")),
        "it must be 'host:port', a grpc.aio.Channel",
    ),
    ("ToolBridgeClient(no port)", lambda: wrong.ToolBridgeClient("localhost"), "'localhost' is not a valid address"),
    (
        "ToolBridgeClient(options={})",
        lambda: wrong.ToolBridgeClient("h:1", options={"timeout": 3}),
        "options is {'timeout': 3}",
    ),
    ("SessionContext('x')", lambda: wrong.SessionContext("x"), "client is 'x'; it must be a ToolBridgeClient"),
    (
        "AsyncGRPCProxyTool('add')",
        lambda: wrong.AsyncGRPCProxyTool("add", SimpleNamespace()),
        "tool_spec is 'add'; it must be a ToolSpec",
    ),
    (
        "AsyncGRPCProxyTool(ToolSpec)",
        lambda: wrong.AsyncGRPCProxyTool(ToolSpec, SimpleNamespace()),
        "is the class ToolSpec",
    ),
    (
        "AsyncGRPCProxyTool(spec, 'x')",
        lambda: wrong.AsyncGRPCProxyTool(ToolSpec(name="f"), "x"),
        "session_context is 'x'",
    ),
    ("BridgeServer(5)", lambda: wrong.BridgeServer(5), "5 is not a valid address"),
    ("BridgeServer(None)", lambda: wrong.BridgeServer(None), "None is not a valid address"),
    ("BridgeServer([add])", lambda: wrong.BridgeServer([add]), "is not a valid address; write host:port"),
    ("BridgeServer(no port)", lambda: wrong.BridgeServer("localhost"), "'localhost' is not a valid address"),
    ("BridgeServer(http)", lambda: wrong.BridgeServer("http://h:1"), "leave http:// out: h:1"),
    ("BridgeServer(tools=add)", lambda: wrong.BridgeServer(tools=add), "it must be a list of functions and tools"),
    (
        "BridgeServer(tools=Tool)",
        lambda: wrong.BridgeServer(tools=tool(add)),
        "it must be a list of functions and tools",
    ),
    ("BridgeServer(tools='x')", lambda: wrong.BridgeServer(tools="x"), "tools is 'x'"),
    ("BridgeServer(tools=None)", lambda: wrong.BridgeServer(tools=None), "tools is None"),
    ("BridgeServer(tools=dict)", lambda: wrong.BridgeServer(tools={"add": add}), "give its values"),
    ("BridgeServer(tools=[5])", lambda: wrong.BridgeServer(tools=[5]), "not 5"),
    ("BridgeServer(tools=[class])", lambda: wrong.BridgeServer(tools=[SomeClass]), "SomeClass is a class"),
    ("BridgeServer(tools=[coroutine])", lambda: wrong.BridgeServer(tools=[add(1, 2)]), "write add, without ()"),
    (
        "BridgeServer(settings=dict)",
        lambda: wrong.BridgeServer(settings={"max_threads": 1}),
        "it must be a Settings object",
    ),
    (
        "BridgeServer(settings=Settings)",
        lambda: wrong.BridgeServer(settings=Settings),
        "settings is the class Settings",
    ),
    (
        "BridgeServer(agents=5)",
        lambda: wrong.BridgeServer(agents=5),
        "agents must be True, settings of the runtime, or a function",
    ),
    ("BridgeServer.bridge(retry_if=3)", lambda: wrong.BridgeServer().bridge(retry_if=3), "retry_if is 3"),
    ("LocalToolBridge(add)", lambda: wrong.LocalToolBridge(add), "it must be a list of functions and tools"),
    ("LocalToolBridge(settings={})", lambda: wrong.LocalToolBridge([add], settings={}), "settings is {}"),
    ("ToolWorker(5)", lambda: wrong.ToolWorker(5), "5 is not a valid address"),
    ("ToolWorker([add])", lambda: wrong.ToolWorker([add]), "is not a valid address; write host:port"),
    ("ToolWorker(tools=add)", lambda: wrong.ToolWorker("h:1", add), "it must be a list of functions and tools"),
    ("ToolWorker(session_id=5)", lambda: wrong.ToolWorker("h:1", [add], session_id=5), "session_id is 5"),
    ("ToolWorker(session_id='')", lambda: wrong.ToolWorker("h:1", [add], session_id=""), "session_id is ''"),
    ("ToolWorker(worker_id=5)", lambda: wrong.ToolWorker("h:1", [add], worker_id=5), "worker_id is 5"),
    (
        "ToolWorker(capacity='5')",
        lambda: wrong.ToolWorker("h:1", [add], capacity="5"),
        "capacity is '5'; it must be 1 or more",
    ),
    ("ToolWorker(capacity=True)", lambda: wrong.ToolWorker("h:1", [add], capacity=True), "capacity is True"),
    ("ToolWorker(capacity=2.5)", lambda: wrong.ToolWorker("h:1", [add], capacity=2.5), "capacity is 2.5"),
    (
        "ToolWorker(capacity=0)",
        lambda: wrong.ToolWorker("h:1", [add], capacity=0),
        "capacity is 0; it must be 1 or more",
    ),
    ("ToolWorker(capacity=2**40)", lambda: wrong.ToolWorker("h:1", [add], capacity=2**40), "up to 2,147,483,647"),
    ("ToolWorker(token=5)", lambda: wrong.ToolWorker("h:1", [add], token=5), "token is of type int"),
    ("ToolWorker(settings={})", lambda: wrong.ToolWorker("h:1", [add], settings={}), "settings is {}"),
    (
        "ToolWorker.start('3')",
        lambda: wrong.ToolWorker("h:1", [add]).start(connect_timeout="3"),
        "connect_timeout is '3'",
    ),
    ("ToolWorker.run(nan)", lambda: wrong.ToolWorker("h:1", [add]).run(connect_timeout=NAN), "connect_timeout is nan"),
    ("ToolWorker.drain('3')", lambda: wrong.ToolWorker("h:1", [add]).drain("3"), "grace is '3'"),
    ("BridgeServer.stop('3')", lambda: wrong.BridgeServer().stop("3"), f"grace is '3'; it must be {A_DURATION}"),
    ("BridgeServer.stop(-1)", lambda: wrong.BridgeServer().stop(-1), "grace is -1"),
    ("tool(5)", lambda: wrong.tool(5), "not 5"),
    ("tool(coroutine)", lambda: wrong.tool(add(1, 2)), "write add, without ()"),
    ("tool(name=5)", lambda: wrong.tool(name=5)(add), "a tool's name must be text, not 5"),
    ("tool(idempotent='no')", lambda: wrong.tool(idempotent="no")(add), "idempotent must be True or False, not 'no'"),
    ("tool(limits=5)", lambda: wrong.tool(limits=5)(add), "limits must be a dict such as"),
    ("tool(limits='x')", lambda: wrong.tool(limits="x")(add), "limits must be a dict such as"),
    (
        "tool(limits of True)",
        lambda: wrong.tool(limits={"timeout_ms": True})(add),
        "timeout_ms must be a whole number, not True",
    ),
    ("tool(metadata='x')", lambda: wrong.tool(metadata="x")(add), "metadata must be a dict of texts, not 'x'"),
    ("tool(metadata of 1)", lambda: wrong.tool(metadata={"a": 1})(add), "metadata['a'] must be text, not 1"),
    ("tool(examples=5)", lambda: wrong.tool(examples=5)(add), "examples must be a list of texts, not 5"),
    (
        "tool(executor=[])",
        lambda: wrong.tool(executor=[])(add),
        "executor must be 'async', 'thread' or 'process', not []",
    ),
    (
        "register_codec(instance)",
        lambda: wrong.register_codec(SomeClass(), type_url="x.Y", encode=repr, decode=repr),
        "registered for a class",
    ),
    (
        "register_codec(type_url=5)",
        lambda: wrong.register_codec(SomeClass, type_url=5, encode=repr, decode=repr),
        "type_url must be a name such as 'acme.Money', not 5",
    ),
    (
        "register_codec(encode=5)",
        lambda: wrong.register_codec(SomeClass, type_url="x.Y", encode=5, decode=repr),
        "encode of SomeClass must be a function, not 5",
    ),
    ("step(5)", lambda: wrong.pipeline("p", "d", [wrong.step(5)]), "p: step 1: 5 is not a tool's id"),
    ("step(as_=5)", lambda: wrong.pipeline("p", "d", [wrong.step("add", as_=5)]), "p: step 1: 5 is not a name"),
    ("parallel('add')", lambda: wrong.pipeline("p", "d", [wrong.parallel("add")]), "p: step 1.1: 'add' is not a step"),
    ("each('$x', 'add')", lambda: wrong.pipeline("p", "d", [wrong.each("$x", "add")]), "p: step 1: Each("),
    ("pipeline(step)", lambda: wrong.pipeline("p", "d", step("add")), "steps is Step("),
    ("pipeline(['add'])", lambda: wrong.pipeline("p", "d", ["add"]), "p: step 1: 'add' is not a step"),
    ("pipeline(inputs=[])", lambda: wrong.pipeline("p", "d", [step("add")], inputs=["a"]), "inputs is ['a']"),
]


@pytest.mark.parametrize(("make", "words"), [case[1:] for case in MAKERS], ids=[case[0] for case in MAKERS])
async def test_what_cannot_be_made_of_what_was_given_says_why(make: Callable[[], Any], words: str) -> None:
    with pytest.raises((ValidationError, TypeError, ValueError)) as caught:
        await _all(make())
    _assert_ours(caught.value, words)


IN_TOOLS: list[tuple[str, Callable[[Any], Any], str]] = [
    ("get_variable(5)", lambda ctx: ctx.get_variable(5), "name is 5"),
    ("set_variable(None)", lambda ctx: ctx.set_variable(None, 1), "name is None"),
    ("delete_variable([])", lambda ctx: ctx.delete_variable([]), "name is []"),
    ("list_variables(5)", lambda ctx: ctx.list_variables(5), "prefix is 5"),
    ("call_tool(5)", lambda ctx: ctx.call_tool(5), "tool_id is 5"),
    ("stream_tool(add)", lambda ctx: ctx.stream_tool(add), "tool_id is <function add"),
    ("progress('x')", lambda ctx: ctx.progress("x"), "current is 'x'; it must be a number"),
    ("progress(total='x')", lambda ctx: ctx.progress(1, "x"), "total is 'x'; it must be a number"),
    ("progress(message=5)", lambda ctx: ctx.progress(1, message=5), "message is 5; it must be a text"),
    ("log(5)", lambda ctx: ctx.log(5), "message is 5; it must be a text"),
    (
        "log(level='loud')",
        lambda ctx: ctx.log("x", level="loud"),
        "level must be 'debug', 'info', 'warning' or 'error', not 'loud'",
    ),
]


@pytest.mark.parametrize(("call", "words"), [case[1:] for case in IN_TOOLS], ids=[case[0] for case in IN_TOOLS])
async def test_a_tool_that_asks_its_context_wrongly_is_told_so(call: Callable[[Any], Any], words: str) -> None:
    told: list[BaseException] = []

    async def ask(ctx: ToolContext) -> None:
        try:
            await _all(call(ctx))
        except ValidationError as error:
            told.append(error)

    async with LocalToolBridge([ask]) as bridge:
        await (await bridge.initialize())["ask"]()
    _assert_ours(told[0], words)


@pytest.mark.parametrize("seconds", [1, 0.5, np.float64(0.5), np.float32(0.5), np.int64(2), Fraction(1, 2)])
def test_any_real_number_is_a_number_of_seconds(seconds: Any) -> None:
    check_timeout("timeout", seconds)
    check_seconds("grace", seconds)


@pytest.mark.parametrize("number", [0, 5, np.int64(5), np.uint8(5)])
def test_any_whole_number_counts(number: Any) -> None:
    check_count("limit", number)


def test_what_may_be_endless_or_nothing_may() -> None:
    check_seconds("connect_timeout", math.inf, may_be_endless=True)
    check_seconds("grace", 0)
    with pytest.raises(
        ValidationError, match="grace is inf; it must be a number of seconds, 0 or more, and below 24 days"
    ):
        check_seconds("grace", math.inf)
    with pytest.raises(ValidationError, match="the timeout is 1000"):
        check_timeout("the timeout", 10**400)


def test_one_of_the_wrong_type_is_a_type_error_too_and_one_of_a_wrong_value_is_not() -> None:
    with pytest.raises(TypeError) as wrong_type:
        check_text("name", 5)
    assert isinstance(wrong_type.value, ArgumentTypeError)
    with pytest.raises(ValueError, match="name is ''") as wrong_value:
        check_text("name", "")
    assert not isinstance(wrong_value.value, TypeError)


def test_what_is_shown_is_short_and_never_fails() -> None:
    class Broken:
        def __repr__(self) -> str:
            raise KeyError

    with pytest.raises(ValidationError, match="flag is a Broken; it must be True or False"):
        check_flag("flag", Broken())
    with pytest.raises(ValidationError) as caught:
        check_flag("flag", "x" * 1_000_000)
    assert len(str(caught.value)) < 120


def test_a_message_is_made_of_a_dict_and_taken_as_it_is() -> None:
    made = message_of("metadata", {"type": "int", "tags": {"a": "b"}, "secret": True}, VariableMetadata)
    assert (made.type, dict(made.tags), made.secret) == ("int", {"a": "b"}, True)
    assert message_of("metadata", made, VariableMetadata) is made


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "token").write_text("s3cret\n")
    return {"token_file": str(tmp_path / "token"), "tls_ca": str(tmp_path / "ca.pem")}


def test_a_path_may_be_a_text(files: dict[str, str]) -> None:
    bridge = GRPCToolBridge("h:1", **files)  # type: ignore[arg-type]  # a Path is what is asked for
    assert bridge.client.where == "h:1"


async def test_a_bridge_that_was_opened_with_await_says_that_it_has_no_blocking_view(world: SimpleNamespace) -> None:
    with pytest.raises(ProtocolError, match="this bridge was opened with await"):
        _ = world.bridge.sync


def test_tools_are_still_tools() -> None:
    assert isinstance(tool(idempotent=True, limits={"timeout_ms": 5}, metadata={"a": "b"})(add), Tool)
