"""Lives of a hub, one after the other, each in a fork of this process, which has imported all that a hub needs.

Its arguments: the file of the store or its URL in NATS, the address, and the file that tools write their effects to.
Each line of its input is a ``Kill`` and begins a life; of each life it prints the process, whether it is ready, and how
it ended.
"""

import asyncio
import json
import os
import signal
import sys
import traceback
from pathlib import Path

from durability.kills import Kill, KilledStore, Killer
from durability.nats_kills import KilledNatsStore, watch_points
from durability.tools import Effects
from grpc_tool_bridge import BridgeServer, Settings
from grpc_tool_bridge.core import revisions

SETTINGS = Settings(
    max_sessions=100_000,
    session_idle_timeout=86_400.0,
    watch_history=1_000_000,
    watch_history_bytes=1 << 30,
    max_session_answers=100_000,
    agent_run_ttl=3_600.0,
    max_session_runs=100_000,
    max_session_agents=100_000,
    shutdown_grace=0.2,
)
KEEPS_LITTLE = SETTINGS.model_copy(update={"watch_history": 10, "ended_sessions": 1})


def say(**facts: object) -> None:
    """Prints a line, in one piece also beside those of other processes."""
    os.write(1, f"{json.dumps(facts)}\n".encode())


def prepare(store: str, kill: Kill) -> tuple[KilledStore | KilledNatsStore, Killer]:
    """Returns the store of this process, which kills itself as it was told to; it is a file or a URL of NATS."""
    killer = Killer(kill)
    # Otherwise a new block of revisions would hardly ever be reserved.
    revisions.RESERVED = 20
    durable: KilledStore | KilledNatsStore
    if store.startswith("nats://"):
        watch_points(killer.at_point)
        durable = KilledNatsStore(store, adopt=True)
    else:
        killer.listen()
        durable = KilledStore(Path(store), at_point=killer.at_point)
    durable.killer = killer
    return durable, killer


async def live(store: str, address: str, effects: Path, kill: Kill) -> None:
    """Serves until it is told to end, or kills itself."""
    durable, killer = prepare(store, kill)
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    tools = Effects(effects)
    settings = KEEPS_LITTLE if kill.keeps_little else SETTINGS
    server = BridgeServer(address, tools=[tools.append, tools.append_again], settings=settings, store=durable)
    await server.start()
    loop.add_signal_handler(signal.SIGTERM, end.set)
    # Nobody writes while a life goes on: the test has ended.
    loop.add_reader(sys.stdin.fileno(), os._exit, 1)
    say(ready=server.address)
    await end.wait()
    killer.close()
    await server.stop()


def main(store: str, address: str, effects: str) -> None:
    """Begins a life for each line of input."""
    for line in sys.stdin:
        process = os.fork()
        if not process:
            code = 1
            try:
                asyncio.run(live(store, address, Path(effects), Kill.from_json(line)))
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        say(process=process)
        # Nobody else gets its number until it has been told that it ended.
        ended = os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        say(ended=ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
        os.waitpid(process, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
