"""``approvals``: lists, grants and denies the calls that wait for approval."""

from typing import TYPE_CHECKING, Annotated, Any

from grpc_tool_bridge.cli.failures import CommandError
from grpc_tool_bridge.cli.hubs import OfHubOption
from grpc_tool_bridge.cli.options import HubOptions, JsonOption
from grpc_tool_bridge.cli.output import print_json
from grpc_tool_bridge.cli.parameters import Argument, Option

if TYPE_CHECKING:
    from grpc_tool_bridge.client.admin import Admin
    from grpc_tool_bridge.proto.dspex_bridge_pb2 import ApprovalInfo

_Id = Annotated[str, Argument(metavar="ID", help="Id of the approval, as approvals list prints it.")]
_Digest = Annotated[
    str | None,
    Option(
        "--digest",
        metavar="HEX",
        help="Digest of the arguments that were seen, as approvals list --json prints it; if the call that waits has "
        "another, nothing is decided. Default: that of the arguments as they are now, which are printed.",
    ),
]


async def list_approvals(hub: HubOptions, *, of_hub: OfHubOption = None, as_json: JsonOption = False) -> None:
    """List the calls that wait for approval and that you may approve, with their arguments, oldest first."""
    from grpc_tool_bridge.cli import admin_text
    from grpc_tool_bridge.cli.connection import open_admin

    async with open_admin(hub) as admin:
        listed = admin.approvals(include_arguments=True, hub=of_hub, on_missing=admin_text.tell_missing)
        found = [approval async for approval in listed]
    admin_text.sort_by(found, "started_at")
    how = admin_text.APPROVAL_COLUMNS, admin_text.approval_row, admin_text.approval_facts
    admin_text.print_list(found, *how, none="No call waits for approval", as_json=as_json)


async def grant_approval(
    hub: HubOptions, approval_id: _Id, *, digest: _Digest = None, as_json: JsonOption = False
) -> None:
    """Let a call run that waits for approval, with exactly these arguments."""
    await _decide(hub, approval_id, digest, None, as_json=as_json)


async def deny_approval(
    hub: HubOptions,
    approval_id: _Id,
    *,
    reason: Annotated[str, Option("--reason", metavar="TEXT", help="The reason, for the caller.")] = "",
    digest: _Digest = None,
    as_json: JsonOption = False,
) -> None:
    """End a call that waits for approval; its caller gets PermissionDenied."""
    await _decide(hub, approval_id, digest, reason, as_json=as_json)


async def _decide(hub: HubOptions, approval_id: str, digest: str | None, denied: str | None, *, as_json: bool) -> None:
    from grpc_tool_bridge.cli.admin_text import approval_text
    from grpc_tool_bridge.cli.connection import open_admin
    from grpc_tool_bridge.cli.consoles import console

    async with open_admin(hub) as admin:
        found = await _found(admin, approval_id)
        seen = digest or found.digest
        if denied is None:
            await admin.grant(approval_id, seen, hub=found.hub or None)
        else:
            await admin.deny(approval_id, seen, denied, hub=found.hub or None)
    if as_json:
        answer: dict[str, Any] = {"approval_id": approval_id, "tool": found.tool, "granted": denied is None}
        print_json(answer)
    else:
        console().print(f"{approval_text(found)} is {'granted' if denied is None else 'denied'}", markup=False)


async def _found(admin: "Admin", approval_id: str) -> "ApprovalInfo":
    async for approval in admin.approvals(include_arguments=True):
        if approval.approval_id == approval_id:
            return approval
    raise CommandError(
        f"no call waits for the approval {approval_id!r}, or you may not approve it; see approvals list",
        error_type="NotFound",
    )
