"""Toolsets, versions, prefixes, lifespans, dependencies, middleware and metadata in the same calls."""

import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import pytest

from grpc_tool_bridge import (
    BridgeServer,
    CallNext,
    Depends,
    GRPCToolBridge,
    Settings,
    ToolBridge,
    ToolCall,
    ToolContext,
    Toolset,
    ToolWorker,
    tool,
)
from integration import dependent_tools

Open = Callable[..., Any]

# More than a request may have to take the short way.
LONG = "x" * 100_000


class Db:
    """A database, of which a lifespan knows those that are open."""

    def __init__(self, opened: list["Db"]) -> None:
        self.opened = opened
        self.opened.append(self)

    def close(self) -> None:
        self.opened.remove(self)


@asynccontextmanager
async def lifespan(_: Any) -> AsyncIterator[dict[str, Any]]:
    opened: list[Db] = []
    yield {"opened": opened}
    assert not opened


def get_db(ctx: ToolContext) -> Iterator[Db]:
    db = Db(ctx.lifespan["opened"])
    yield db
    db.close()


SomeDb = Annotated[Db, Depends(get_db)]


class Orders:
    def __init__(self, shop: str) -> None:
        self.shop = shop

    @tool(tags=["read"])
    async def get(self, number: int, ctx: ToolContext, db: SomeDb) -> dict[str, Any]:
        """Gets an order."""
        said = {"open": len(db.opened), "request_id": ctx.request_id, "metadata": dict(ctx.metadata)}
        return {"order": f"{self.shop} {number}", **said}

    @tool
    def all(self, count: int, db: SomeDb) -> Iterator[str]:
        """Yields orders."""
        for number in range(count):
            yield f"{self.shop} {number} {len(db.opened)}"


@tool(name="greet", version="1", deprecated="use version 2")
async def greet_before(name: str, ctx: ToolContext) -> str:
    return f"Hello {name[:9]} of {ctx.metadata.get('tenant')}"


@tool(name="greet", version="2")
async def greet(name: str, ctx: ToolContext, db: SomeDb) -> str:
    return f"Hi {name[:9]} of {ctx.metadata.get('tenant')}, {len(db.opened)}"


TOOLS = [Toolset(Orders("books"), prefix="books."), Toolset(Orders("music"), prefix="music."), greet_before, greet]


class Seen:
    """Middleware that remembers the calls."""

    def __init__(self) -> None:
        self.calls: list[ToolCall] = []

    async def __call__(self, call: ToolCall, call_next: CallNext) -> Any:
        self.calls.append(call)
        return await call_next(call)


async def next_number(call: ToolCall, call_next: CallNext) -> Any:
    """Middleware that changes an argument."""
    if call.tool == "shop.books.get":
        call.args = [number + 1 for number in call.args]
    return await call_next(call)


@pytest.fixture(autouse=True)
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names the file to which the tools of processes write."""
    monkeypatch.setenv(dependent_tools.LOG, str(tmp_path / "log"))


@pytest.fixture(params=["hub", "worker"])
async def open_(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Starts a hub, and opens a bridge to it; the tools are the hub's or a worker's."""
    async with AsyncExitStack() as stack:

        async def start(*middleware: Any, tools: Any = TOOLS, lives_in: Any = lifespan, **client: Any) -> ToolBridge:
            settings = Settings(shutdown_grace=0)
            if request.param == "hub":
                offered = [tool_.renamed(f"shop.{tool_.spec.name}") for each in tools for tool_ in _tools_of(each)]
                server = BridgeServer(tools=offered, middleware=middleware, lifespan=lives_in, settings=settings)
                await stack.enter_async_context(server)
            else:
                server = BridgeServer(middleware=middleware, settings=settings)
                await stack.enter_async_context(server)
                worker = ToolWorker(server.address, tools=tools, prefix="shop.", lifespan=lives_in, settings=settings)
                await stack.enter_async_context(worker)
            bridge = GRPCToolBridge(server.address, **client)
            stack.push_async_callback(bridge.close)
            await bridge.initialize("s", metadata={"tenant": "acme"})
            return bridge

        yield start


def _tools_of(source: Any) -> list[Any]:
    return list(source) if isinstance(source, Toolset) else [source]


async def test_a_call_passes_middleware_on_both_sides_and_has_its_dependencies_and_metadata(open_: Open) -> None:
    at_hub, at_client = Seen(), Seen()
    bridge = await open_(at_hub, next_number, middleware=[at_client], metadata={"user": "ada"})

    said = await bridge.tools["shop.books.get"](7)

    assert said["order"] == "books 8"
    assert said["open"] == 1
    assert said["metadata"] == {"tenant": "acme", "user": "ada"}
    assert [call.request_id for call in (*at_hub.calls, *at_client.calls)] == [said["request_id"]] * 2
    assert await bridge.tools["shop.music.get"](7) | {"request_id": ""} == {
        **said,
        "order": "music 7",
        "request_id": "",
    }
    assert await bridge.tools["shop.books.all"](2) == ["books 0 1", "books 1 1"]
    assert sorted(bridge.tools.tagged("read")) == ["shop.books.get", "shop.music.get"]


@pytest.mark.parametrize("name", ["Ada", LONG], ids=["short", "long"])
@pytest.mark.parametrize("watched", [False, True], ids=["short way", "general way"])
async def test_each_version_is_called_by_its_name_whatever_is_around_the_call(
    open_: Open, name: str, watched: bool
) -> None:
    seen = Seen()
    bridge = await open_(*[seen] * watched)
    hi, hello = f"Hi {name[:9]} of acme, 1", f"Hello {name[:9]} of acme"

    assert await bridge.tools["shop.greet"](name) == hi
    assert await bridge.tools["shop.greet@2"](name) == hi
    with warnings.catch_warnings(record=True, category=DeprecationWarning) as told:
        warnings.simplefilter("always")
        assert [await bridge.tools["shop.greet@1"](name) for _ in range(2)] == [hello, hello]
    assert [str(warning.message) for warning in told] == ["the tool shop.greet@1 is deprecated: use version 2"]
    calls = [{"tool_id": each, "args": [name]} for each in ("shop.greet", "shop.greet@1")]
    assert list(await bridge.execute_batch(calls)) == [hi, hello]
    if watched:
        names = ["shop.greet", "shop.greet@2", *["shop.greet@1"] * 2, "shop.greet", "shop.greet@1"]
        assert [call.tool for call in seen.calls] == names


async def test_an_item_of_a_batch_that_is_made_apart_warns_of_a_deprecated_tool_too(open_: Open) -> None:
    bridge = await open_(middleware=[Seen()])

    with pytest.warns(DeprecationWarning, match="use version 2") as told:
        (answer,) = await bridge.execute_batch([{"tool_id": "shop.greet@1", "args": ["Ada"]}])

    assert answer == "Hello Ada of acme"
    assert [warning.filename for warning in told] == [__file__]


async def test_a_renamed_tool_in_a_process_has_its_lifespan_and_dependencies_behind_middleware(open_: Open) -> None:
    seen = Seen()
    query = dependent_tools.in_process[0].renamed("db.query")
    bridge = await open_(seen, tools=[query], lives_in=dependent_tools.lifespan, middleware=[Seen()])

    said = await bridge.tools["shop.db.query"]("tea", limit=2)

    assert said == "tea in db of NoneType, 2"
    assert [call.tool for call in seen.calls] == ["shop.db.query"]
