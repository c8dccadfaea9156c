"""Types survive: a user's project is checked by mypy and by pyright, and its mistakes are found by both."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge.client.stub_text import stub_module
from integration.test_cli import serving
from support.checkers import marked, mypy, pyright
from support.programs import environment, run
from unit.client.stub_specs import SPECS

pytestmark = pytest.mark.slow

CHECKERS = [mypy, pyright]
Checker = Callable[..., dict[tuple[str, int], list[str]]]

# What ``@tool`` leaves of each kind of function.
DECORATED = """
import functools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, assert_type

from grpc_tool_bridge import BridgeServer, LocalToolBridge, Tool, ToolContext, ToolWorker, tool


@tool
def greet(name: str, times: int = 1) -> str:
    return name * times


@tool(name="sum", idempotent=True)
async def add(a: int, /, b: int = 1, *rest: int, exact: bool = False, **notes: str) -> int:
    return a + b + sum(rest)


@tool
def count(n: int) -> Iterator[int]:
    yield n


@tool()
async def spell(word: str, ctx: ToolContext) -> AsyncIterator[str]:
    yield word


class Shop:
    @tool
    def price(self, item: str) -> float:
        return len(item)

    @tool(name="shop.stock")
    async def stock(self, item: str, size: int = 0) -> list[int]:
        return [size]

    @tool
    async def watch(self) -> AsyncIterator[float]:
        yield 1.5

    @staticmethod
    @tool
    def round_up(price: float) -> int:
        return int(price)

    @classmethod
    @tool
    def of(cls, name: str) -> str:
        return name

    shared = greet


class SmallShop(Shop):
    pass


class Adder:
    def __call__(self, a: int) -> str:
        return str(a)


async def use(ctx: ToolContext) -> None:
    assert_type(greet("a", times=2), str)
    assert_type(await add(1, 2, 3, exact=True, note="x"), int)
    assert_type(count(1), Iterator[int])
    async for letter in spell("a", ctx):
        assert_type(letter, str)
    shop = Shop()
    assert_type(shop.price("tea"), float)
    assert_type(SmallShop().price(item="tea"), float)
    assert_type(await shop.stock("tea", size=1), list[int])
    async for price in shop.watch():
        assert_type(price, float)
    assert_type(Shop.price(shop, "tea"), float)
    assert_type(Shop.round_up(1.5), int)
    assert_type(shop.round_up(1.5), int)
    assert_type(Shop.of("a"), str)
    assert_type(shop.of("a"), str)
    assert_type(shop.shared("a"), str)
    hello = tool(name="hello")(functools.partial(greet.function, "hello"))
    assert_type(hello(times=1), str)
    assert_type(tool(Adder())(1), str)
    assert_type(tool(Adder().__call__, name="other")(1), str)
    function: Callable[[str], str] = greet
    tools: list[Tool] = [greet, add, shop.price, hello]
    functions: list[Callable[..., Any]] = [greet, add, shop.price, hello, function]
    BridgeServer(tools=[greet, add, count, spell, shop.price, Shop.round_up, hello, len])
    ToolWorker("127.0.0.1:50051", tools)
    LocalToolBridge(functions)
    assert_type(tools[0](1, "anything"), Any)


async def wrong(ctx: ToolContext) -> None:
    greet(1)  # wrong
    greet("a", time=2)  # wrong
    await add()  # wrong
    await add("1")  # wrong
    number: int = greet("a")  # wrong
    print(number)
    shop = Shop()
    shop.price(1)  # wrong
    shop.price(shop, "tea")  # wrong
    await shop.stock("tea", size="x")  # wrong
    Shop.round_up("1")  # wrong
    shop.round_up("1")  # wrong
    Shop.of(1)  # wrong
    shop.of(1)  # wrong
    spell("a")  # wrong
    tool(Adder())("x")  # wrong
    tool(naem="x")  # wrong
    tool(greet.function, idempotent="yes")  # wrong
    greet.function(2)  # wrong
"""

# The tools of the hub for which a client module is written.
TOOLS = '''
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal

from grpc_tool_bridge import tool


class Size(Enum):
    SMALL = "small"
    LARGE = "large"


@dataclass
class Order:
    item: str
    size: Size = Size.SMALL
    tags: list[str] = field(default_factory=list)


@tool
def add(a: int, b: int = 1) -> int:
    """Adds two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return a + b


@tool
async def count(n: int) -> AsyncIterator[int]:
    """Counts."""
    for number in range(n):
        yield number


@tool(name="orders.create")
async def create(item: str, *, size: Size = Size.SMALL, tags: list[str] | None = None) -> Order:
    return Order(item, size, tags or [])


@tool(name="orders.find")
async def find(orders: list[Order], wanted: Literal["tea", "cake"]) -> Order | None:
    return next((order for order in orders if order.item == wanted), None)


@tool(name="next-day")
def next_day(moment: datetime, class_: str = "", delays: dict[str, timedelta] = {}) -> datetime:
    return moment + timedelta(days=1) + sum(delays.values(), timedelta())
'''

CLIENT = """
import asyncio
import sys
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import assert_type

from grpc_tool_bridge import GRPCToolBridge
from tools_api import Order, ToolsApi


async def main() -> None:
    async with GRPCToolBridge(sys.argv[1]) as bridge:
        await bridge.initialize()
        api = ToolsApi(bridge)
        assert_type(await api.add(1, 2), int)
        print(await api.add(1, 2), await api.add(1), await api.with_options(timeout=5).add(a=2))
        assert_type(api.count(2), AsyncIterator[int])
        print([number async for number in api.count(3)])
        order = await api.orders.create("tea", size="large", tags=["green"])
        assert_type(order, Order)
        print(order["item"], order["size"])
        found = await api.orders.find([{"item": "cake"}, {"item": "tea", "size": "large"}], "tea")
        print(found and found["item"])
        moment = await api.next_day(datetime(2026, 2, 28), delays={"rain": timedelta(hours=2)})
        assert_type(moment, datetime)
        print(moment)
        progress = api.with_options(on_progress=print).orders
        print((await progress.create("cake"))["size"])


if __name__ == "__main__":
    asyncio.run(main())
"""

WRONG = """
from tools_api import ToolsApi


async def wrong(api: ToolsApi) -> None:
    await api.add("1")  # wrong
    await api.add()  # wrong
    await api.add(1, c=2)  # wrong
    text: str = await api.add(1)  # wrong
    print(text)
    async for number in api.count(3):
        letters: str = number  # wrong
        print(letters)
    await api.count(3)  # wrong
    await api.orders.create("tea", "large")  # wrong
    await api.orders.create("tea", size="huge")  # wrong
    order = await api.orders.create("tea")
    print(order["prize"])  # wrong
    await api.orders.find([{"size": "large"}], "tea")  # wrong
    await api.orders.find([], "coffee")  # wrong
    found = await api.orders.find([], "tea")
    print(found["item"])  # wrong
    await api.next_day("2026-02-28")  # wrong
    await api.next_month()  # wrong
"""

BLOCKING = """
import sys
from collections.abc import Iterator
from typing import assert_type

from blocking_api import Hub
from grpc_tool_bridge import GRPCToolBridge

with GRPCToolBridge(sys.argv[1]).sync as bridge:
    bridge.initialize()
    hub = Hub(bridge)
    assert_type(hub.add(1), int)
    assert_type(hub.count(2), Iterator[int])
    print(hub.add(1), list(hub.count(2)), hub.orders.create("tea")["size"])
    hub.add("1")  # wrong
"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A hub in a process of its own, with the tools."""
    tools = tmp_path_factory.mktemp("tools") / "shop_tools.py"
    tools.write_text(TOOLS, encoding="utf-8")
    with serving("--tools", str(tools)) as (announced, _):
        yield announced["address"]


def stubs(folder: Path, *words: str, code: int = 0) -> str:
    """Runs ``stubs`` in a folder; returns its stdout, or what it says on stderr if it fails."""
    ran = run([sys.executable, "-m", "grpc_tool_bridge.cli", "stubs", *words], cwd=folder, env=_environment())
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stderr if code else ran.stdout


def _environment() -> dict[str, str]:
    return environment(PYTHONPATH=str(Path(__file__).parents[2] / "src"))


def _run(folder: Path, file: str, address: str) -> list[str]:
    ran = run([sys.executable, file, address], cwd=folder, env=_environment())
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


@pytest.mark.parametrize("check", CHECKERS)
def test_a_decorated_function_keeps_its_types(tmp_path: Path, check: Checker) -> None:
    (tmp_path / "shop.py").write_text(DECORATED, encoding="utf-8")
    found = check(tmp_path, "shop.py")
    assert sorted(found) == marked(DECORATED, "shop.py"), found


def test_a_project_calls_the_tools_of_a_hub_with_their_types(tmp_path: Path, address: str) -> None:
    stubs(tmp_path, "--address", address, "--out", "tools_api.py")
    for name, text in {"client.py": CLIENT, "wrong.py": WRONG}.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    files = ["tools_api.py", "client.py", "wrong.py"]
    for check in CHECKERS:
        found = check(tmp_path, *files)
        assert sorted(found) == marked(WRONG, "wrong.py"), (check.__name__, found)
    assert _run(tmp_path, "client.py", address) == [
        "3 2 3",
        "[0, 1, 2]",
        "tea large",
        "tea",
        "2026-03-01 02:00:00",
        "small",
    ]


def test_a_blocking_project_does_so_too(tmp_path: Path, address: str) -> None:
    stubs(tmp_path, "--address", address, "--out", "blocking_api.py", "--sync", "--class", "Hub")
    (tmp_path / "client.py").write_text(BLOCKING, encoding="utf-8")
    for check in CHECKERS:
        found = check(tmp_path, "blocking_api.py", "client.py")
        assert sorted(found) == marked(BLOCKING, "client.py"), (check.__name__, found)
    (tmp_path / "client.py").write_text(BLOCKING.replace('    hub.add("1")  # wrong\n', ""), encoding="utf-8")
    assert _run(tmp_path, "client.py", address) == ["2 [0, 1] small"]


def test_the_module_is_formatted_as_ruff_does_and_is_the_same_each_time(tmp_path: Path, address: str) -> None:
    text = stubs(tmp_path, "--address", address, "--out", "-")
    assert stubs(tmp_path, "--address", address) == text
    (tmp_path / "tools_api.py").write_text(text, encoding="utf-8")
    ruff: list[Any] = [sys.executable, "-m", "ruff"]
    for words in (["format", "--diff"], ["check", "--select", "E,F,I,W,UP"]):
        ran = run([*ruff, *words, "--isolated", "--line-length", "120", "tools_api.py"], cwd=tmp_path)
        assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("blocking", [False, True])
def test_any_tools_give_a_module_that_the_checkers_and_the_formatter_leave_as_it_is(
    tmp_path: Path, blocking: bool
) -> None:
    (tmp_path / "tools_api.py").write_text(stub_module(SPECS, blocking=blocking), encoding="utf-8")
    for check in CHECKERS:
        assert check(tmp_path, "tools_api.py") == {}
    for words in (["format", "--diff"], ["check", "--select", "E,F,I,W"]):
        ran = run(
            [sys.executable, "-m", "ruff", *words, "--isolated", "--line-length", "120", "tools_api.py"], cwd=tmp_path
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_file_that_is_not_up_to_date_is_told_by_the_exit_code(tmp_path: Path, address: str) -> None:
    words = ["--address", address, "--out", "tools_api.py"]
    assert "tools_api.py does not exist" in stubs(tmp_path, *words, "--check", code=1)
    assert not (tmp_path / "tools_api.py").exists()
    stubs(tmp_path, *words)
    stubs(tmp_path, *words, "--check")
    before = (tmp_path / "tools_api.py").stat().st_mtime_ns
    stubs(tmp_path, *words)
    assert (tmp_path / "tools_api.py").stat().st_mtime_ns == before
    (tmp_path / "tools_api.py").write_bytes(b"\xff")
    assert "tools_api.py is not up to date" in stubs(tmp_path, *words, "--check", code=1)
    stubs(tmp_path, *words, "--prefix", "orders.")
    assert "tools_api.py is not up to date" in stubs(tmp_path, *words, "--check", code=1)
    assert "def add" not in (tmp_path / "tools_api.py").read_text(encoding="utf-8")
