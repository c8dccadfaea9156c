"""What is recorded: each scenario is one kind of call."""

from collections.abc import Callable, Iterable

from integration.transcript_stage import Scenario, Stage, Transport

BOTH: tuple[Transport, ...] = ("link", "rpc")

# By name, with the transports over which each is played.
SCENARIOS: dict[str, tuple[Scenario, Iterable[Transport]]] = {}


def scenario(*transports: Transport) -> Callable[[Scenario], Scenario]:
    """Registers a scenario under its name."""

    def register(function: Scenario) -> Scenario:
        SCENARIOS[function.__name__] = function, transports or BOTH
        return function

    return register


def add(a: int, b: int = 2) -> int:
    """Adds up."""
    return a + b


async def add_async(a: int, b: int = 2) -> int:
    """Adds up."""
    return a + b


@scenario()
async def session_with_defaults(stage: Stage) -> None:
    await stage.hub(add)
    bridge = await stage.client()
    await bridge.initialize()
    await bridge.close()


@scenario()
async def call_of_a_tool_of_the_hub(stage: Stage) -> None:
    bridge = await stage.play(add, add_async)
    await bridge.tools["add"](1, b=3)
    await bridge.tools["add_async"](1)
