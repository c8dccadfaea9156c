"""``admin``: shows what is going on in the hub."""

from typing import TYPE_CHECKING, Annotated, Any

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.hubs import OfHubOption
from grpc_tool_bridge.cli.options import CountOption, HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option
from grpc_tool_bridge.rpc.event_kinds import EVENT_KINDS

if TYPE_CHECKING:
    from grpc_tool_bridge.client.admin import CallStatus

OneSessionOption = Annotated[
    str | None,
    Option("--session", metavar="ID", help="Only this session. Default: all sessions.", complete="session"),
]


async def list_sessions(hub: HubOptions, *, of_hub: OfHubOption = None, as_json: JsonOption = False) -> None:
    """List the sessions of the hub, oldest first; in a cluster those of all hubs."""
    from grpc_tool_bridge.cli import admin_text
    from grpc_tool_bridge.cli.connection import open_admin

    async with open_admin(hub) as admin:
        found = [session async for session in admin.sessions(hub=of_hub, on_missing=admin_text.tell_missing)]
    admin_text.sort_by(found, "created_at")
    how = admin_text.SESSION_COLUMNS, admin_text.session_row, admin_text.session_facts
    admin_text.print_list(found, *how, none="The hub has no sessions", as_json=as_json)


async def list_workers(hub: HubOptions, *, of_hub: OfHubOption = None, as_json: JsonOption = False) -> None:
    """List the workers that are connected to the hub, or to a hub of the cluster, with their tools."""
    from grpc_tool_bridge.cli import admin_text
    from grpc_tool_bridge.cli.connection import open_admin

    async with open_admin(hub) as admin:
        found = [worker async for worker in admin.workers(hub=of_hub, on_missing=admin_text.tell_missing)]
    admin_text.sort_by(found, "connected_at")
    how = admin_text.WORKER_COLUMNS, admin_text.worker_row, admin_text.worker_facts
    none = "No workers are connected; start one with grpc-tool-bridge worker"
    admin_text.print_list(found, *how, none=none, as_json=as_json)


async def list_calls(
    hub: HubOptions,
    *,
    session: OneSessionOption = None,
    arguments: Annotated[
        bool, Option("--arguments", help="Print the arguments too, if the hub still holds them.")
    ] = False,
    of_hub: OfHubOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the waiting and running calls, oldest first; in a cluster those of all hubs."""
    from grpc_tool_bridge.cli import admin_text
    from grpc_tool_bridge.cli.connection import open_admin

    async with open_admin(hub, session) as admin:
        listed = admin.calls(
            session or None, include_arguments=arguments, hub=of_hub, on_missing=admin_text.tell_missing
        )
        found = sorted([call async for call in listed], key=lambda call: call.started_at)

    def row(call: "CallStatus") -> list[Any]:
        return admin_text.call_row(call) + ([admin_text.arguments_text(call)] if arguments else [])

    def facts(call: "CallStatus") -> dict[str, Any]:
        return admin_text.call_facts(call, with_arguments=arguments)

    columns = [*admin_text.CALL_COLUMNS, *(["arguments"] if arguments else [])]
    admin_text.print_list(found, columns, row, facts, none="No calls wait or run", as_json=as_json)


async def list_runs(
    hub: HubOptions, *, session: OneSessionOption = None, of_hub: OfHubOption = None, as_json: JsonOption = False
) -> None:
    """List the runs of agents, including ended ones that are still kept; in a cluster those of all hubs."""
    from grpc_tool_bridge.cli import admin_text
    from grpc_tool_bridge.cli.connection import open_admin

    async with open_admin(hub, session) as admin:
        found = [run async for run in admin.runs(session or None, hub=of_hub, on_missing=admin_text.tell_missing)]
    admin_text.sort_by(found, "started_at")
    how = admin_text.RUN_COLUMNS, admin_text.run_row, admin_text.run_facts
    admin_text.print_list(found, *how, none="There are no runs of agents", as_json=as_json)


async def cancel_call(
    hub: HubOptions,
    call_id: Annotated[str, Argument(metavar="CALL_ID", help="Id of the call, as calls prints it.", complete="call")],
    *,
    reason: Annotated[str, Option("--reason", metavar="TEXT", help="The reason, for the caller and the log.")] = "",
    of_hub: Annotated[
        str | None,
        Option(
            "--hub",
            metavar="NAME",
            help="The hub of a cluster that has the call, as calls prints it. Default: any.",
            complete="hub",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Cancel a call, and all calls made by its tool."""
    from grpc_tool_bridge.cli.connection import open_admin
    from grpc_tool_bridge.cli.consoles import console

    async with open_admin(hub) as admin:
        await admin.cancel_call(call_id, reason, hub=of_hub)
    print_json({"call_id": call_id, "cancelled": True}) if as_json else console().print(f"call {call_id} is cancelled")


async def watch_events(
    hub: HubOptions,
    *,
    session: OneSessionOption = None,
    kind: Annotated[
        list[str] | None,
        Option(
            "--kind",
            metavar="KIND",
            help=f"Only this kind: {', '.join(EVENT_KINDS)}. Repeatable.",
            choices=tuple(EVENT_KINDS),
        ),
    ] = None,
    arguments: Annotated[
        bool, Option("--arguments", help="Print arguments, results and the texts of errors too.")
    ] = False,
    calls_per_second: Annotated[
        int | None,
        Option(
            "--calls-per-second",
            min=1,
            metavar="N",
            help="Print a sample of about N new calls a second, and the end of other calls that failed or were slow. "
            "Default: all.",
        ),
    ] = None,
    count: CountOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print what happens in the hub: calls, workers, sessions and log lines."""
    from contextlib import aclosing

    from grpc_tool_bridge.cli import admin_text
    from grpc_tool_bridge.cli.connection import open_admin

    async with (
        open_admin(hub, session) as admin,
        aclosing(
            admin.watch(session or None, kind or (), include_arguments=arguments, calls_per_second=calls_per_second)
        ) as events,
    ):
        async for event in events:
            admin_text.print_event(event, with_arguments=arguments, as_json=as_json)
            count = count and count - 1
            if count == 0:
                return


def check_kinds(*, kind: list[str] | None, **_: Any) -> None:
    """Checks the kinds of events; raises ArgumentError."""
    for name in kind or ():
        if name not in EVENT_KINDS:
            raise ArgumentError(f"--kind {name} is not a kind of event; the kinds are {', '.join(EVENT_KINDS)}")
