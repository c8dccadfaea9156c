"""``sessions share``, ``unshare`` and ``shares``: who else may use a session."""

from typing import Annotated, Any

from grpc_tool_bridge.cli.failures import ArgumentError
from grpc_tool_bridge.cli.options import HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option

_RIGHTS = ("call", "stream", "read", "write", "run", "register", "calls", "cancel")

SessionArgument = Annotated[str, Argument(metavar="ID", help="The session, as sessions prints it.", complete="session")]
WithOption = Annotated[
    str | None, Option("--with", metavar="NAME", help="A principal, such as the name of a token. Or give --group.")
]
GroupOption = Annotated[str | None, Option("--group", metavar="NAME", help="Everybody in a group, instead.")]


async def share_session(
    hub: HubOptions,
    session: SessionArgument,
    *,
    to: WithOption = None,
    group: GroupOption = None,
    right: Annotated[
        list[str] | None,
        Option(
            "--right",
            metavar="NAME",
            help=f"What they may do: {', '.join(_RIGHTS)}. Repeatable. Default: the first five. The policy of the hub "
            "still holds for them.",
            choices=_RIGHTS,
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Let another principal, or everybody in a group, use a session of yours.

    It replaces an earlier share with the same.
    """
    from grpc_tool_bridge.proto.dspex_bridge_pb2 import SessionShare, ShareSessionRequest

    share = SessionShare(principal=to or "", group=group or "", rights=right or ())
    await _change(hub, "ShareSession", ShareSessionRequest(session_id=session, share=share), as_json=as_json)


async def unshare_session(
    hub: HubOptions,
    session: SessionArgument,
    *,
    to: WithOption = None,
    group: GroupOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back what share has given; who uses the session at this moment is out, too."""
    from grpc_tool_bridge.proto.dspex_bridge_pb2 import UnshareSessionRequest

    request = UnshareSessionRequest(session_id=session, principal=to or "", group=group or "")
    await _change(hub, "UnshareSession", request, as_json=as_json)


async def list_shares(hub: HubOptions, session: SessionArgument, *, as_json: JsonOption = False) -> None:
    """List to whom a session belongs, and who else may use it."""
    from rich.text import Text

    from grpc_tool_bridge.cli.connection import open_hub
    from grpc_tool_bridge.cli.consoles import console, rich_table
    from grpc_tool_bridge.proto.dspex_bridge_pb2 import GetSessionInfoRequest

    async with open_hub(hub) as bridge:
        info = await bridge.client.call("GetSessionInfo", GetSessionInfoRequest(session_id=session))
    shares = [
        {"principal": share.principal, "group": share.group, "rights": list(share.rights)}
        for share in info.access.shares
    ]
    if as_json:
        print_json({"session_id": session, "owner": info.access.owner, "shares": shares})
        return
    rows = [[Text(info.access.owner or "nobody"), Text("owner"), Text("all")]]
    for share in shares:
        name, kind = (share["group"], "group") if share["group"] else (share["principal"], "principal")
        rows.append([Text(str(name)), Text(str(kind)), Text(", ".join(share["rights"]))])
    console().print(rich_table(["name", "is", "rights"], rows))


def check(*, to: str | None = None, group: str | None = None, right: list[str] | None = None, **_: Any) -> None:
    """Checks that one of a principal and a group is named; raises ArgumentError."""
    if (to is None) == (group is None):
        raise ArgumentError("a share is for one principal or one group: give --with NAME or --group NAME")
    for name in right or ():
        if name not in _RIGHTS:
            raise ArgumentError(f"--right {name:.60} is no right; the rights are {', '.join(_RIGHTS)}")


async def _change(hub: HubOptions, method: str, request: Any, *, as_json: bool) -> None:
    from grpc_tool_bridge.cli.connection import open_hub
    from grpc_tool_bridge.cli.consoles import console

    async with open_hub(hub) as bridge:
        answer = await bridge.client.call(method, request)
    if as_json:
        print_json({"session_id": request.session_id, "message": answer.message})
    else:
        console().print(answer.message, soft_wrap=True, markup=False)
