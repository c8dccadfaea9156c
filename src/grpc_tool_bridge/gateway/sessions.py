"""Sessions and their variables over HTTP."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.json_format import ParseDict, ParseError
from starlette.requests import Request
from starlette.responses import Response

from grpc_tool_bridge.errors import NotFoundError, SerializationError, ValidationError
from grpc_tool_bridge.gateway.bodies import (
    MAX_REVISION,
    count_of,
    fields_of,
    flag_of,
    name_of,
    names_of,
    path_name,
    texts_of,
    whole_number,
)
from grpc_tool_bridge.gateway.errors import JsonResponse, failed, status_response
from grpc_tool_bridge.gateway.events import Event, EventStream
from grpc_tool_bridge.gateway.hub_calls import HubCalls
from grpc_tool_bridge.gateway.message_json import message_json, value_json
from grpc_tool_bridge.proto import dspex_bridge_pb2 as pb
from grpc_tool_bridge.tools.variable import unreadable_secret
from grpc_tool_bridge.values.offload import written


class SessionRoutes:
    """The routes of sessions.

    Args:
        calls: Makes the calls.
    """

    def __init__(self, calls: HubCalls) -> None:
        self._calls = calls

    async def open(self, request: Request) -> Response:
        """Creates a session, or finds the one of an id."""
        given = fields_of(await self._calls.body(request), session_id=str, metadata=dict, config=dict)
        opening = pb.InitializeSessionRequest(session_id=given.get("session_id", ""))
        opening.metadata.update(texts_of("metadata", given.get("metadata", {})))
        _parse(given.get("config", {}), opening.config, "config")
        response = await self._calls.ask(request, "initialize_session", opening)
        if response.HasField("error"):
            return failed(response.error)
        answer = {
            "session_id": response.session_id,
            "resumed": response.resumed,
            "tool_count": response.tool_count,
            "capabilities": list(response.capabilities),
        }
        return JsonResponse(answer, 200 if response.resumed else 201)

    async def list_all(self, request: Request) -> Response:
        """Lists the sessions, a page of them; in a cluster those of all hubs, or with ``?hub=`` those of one."""
        response = await self._calls.ask(request, "list_sessions", page_of_hubs(request, pb.ListSessionsRequest()))
        return JsonResponse(message_json(response))

    async def describe(self, request: Request) -> Response:
        """Describes a session."""
        asked = pb.GetSessionInfoRequest(session_id=path_name(request, "sid"))
        return JsonResponse(message_json(await self._calls.ask(request, "get_session_info", asked)))

    async def end(self, request: Request) -> Response:
        """Ends a session, with ``?force=true`` at once."""
        asked = pb.CleanupSessionRequest(session_id=path_name(request, "sid"), force=flag_of(request, "force"))
        return status_response(await self._calls.ask(request, "cleanup_session", asked))


class ShareRoutes:
    """The routes of those with whom a session is shared.

    Args:
        calls: Makes the calls.
    """

    def __init__(self, calls: HubCalls) -> None:
        self._calls = calls

    async def list_all(self, request: Request) -> Response:
        """Lists to whom a session belongs, and with whom it is shared."""
        asked = pb.GetSessionInfoRequest(session_id=path_name(request, "sid"))
        info = await self._calls.ask(request, "get_session_info", asked)
        return JsonResponse(message_json(info.access))

    async def add(self, request: Request) -> Response:
        """Shares a session with a principal or a group, in place of an earlier share with the same."""
        given = fields_of(await self._calls.body(request), principal=str, group=str, rights=list)
        rights = given.get("rights", [])
        if not all(isinstance(right, str) for right in rights):
            raise ValidationError("rights must be a list of strings")
        share = pb.SessionShare(principal=given.get("principal", ""), group=given.get("group", ""))
        share.rights.extend(rights)
        asked = pb.ShareSessionRequest(session_id=path_name(request, "sid"), share=share)
        return status_response(await self._calls.ask(request, "share_session", asked))

    async def remove(self, request: Request) -> Response:
        """Takes a share back: that with ``?principal=``, or that with ``?group=``."""
        asked = pb.UnshareSessionRequest(
            session_id=path_name(request, "sid"),
            principal=name_of(request, "principal"),
            group=name_of(request, "group"),
        )
        return status_response(await self._calls.ask(request, "unshare_session", asked))


class VariableRoutes:
    """The routes of a session's variables.

    Args:
        calls: Makes the calls.
    """

    def __init__(self, calls: HubCalls) -> None:
        self._calls = calls

    async def list_all(self, request: Request) -> Response:
        """Lists variables by name; ``?prefix=``, ``?tags=a,b`` and ``?limit=`` choose among them."""
        query = request.query_params
        asked = pb.ListVariablesRequest(
            session_id=path_name(request, "sid"),
            prefix=query.get("prefix", ""),
            tags=names_of(request, "tags"),
            limit=count_of(request, "limit"),
        )
        return JsonResponse(message_json(await self._calls.ask(request, "list_session_variables", asked)))

    async def read(self, request: Request) -> Response:
        """Reads a variable."""
        session_id, name = path_name(request, "sid"), path_name(request, "name")
        asked = pb.GetVariableRequest(session_id=session_id, variable_name=name, include_metadata=True)
        response = await self._calls.ask(request, "get_session_variable", asked)
        if not response.exists:
            text = f"session {session_id!r} has no variable {name!r:.260}"
            raise NotFoundError(text, error_type="VariableNotFound")
        value = await _shown(name, response.value, secret=response.metadata.secret)
        return JsonResponse({"value": value, "metadata": message_json(response.metadata)})

    async def write(self, request: Request) -> Response:
        """Sets a variable; ``If-Match`` is the revision that it must have, 0: it must not exist."""
        body = await self._calls.body(request)
        if not isinstance(body, dict) or "value" not in body:
            raise ValidationError("the body must be an object with value, and metadata if there is any")
        value = body.pop("value")
        given = fields_of(body, metadata=dict, create_if_missing=bool)
        setting = pb.SetVariableRequest(
            session_id=path_name(request, "sid"),
            variable_name=path_name(request, "name"),
            value=await written(value),
            create_if_missing=given.get("create_if_missing", True),
            expected_revision=_revision(request),
        )
        if "metadata" in given:
            _parse(given["metadata"], setting.metadata, "metadata")
        setting.metadata.type = setting.metadata.type or type(value).__name__
        response = await self._calls.ask(request, "set_session_variable", setting)
        if not response.success:
            return failed(response.error)
        return JsonResponse({"revision": int(response.message)})

    async def delete(self, request: Request) -> Response:
        """Deletes a variable; ``If-Match`` as of ``write``."""
        asked = pb.DeleteVariableRequest(
            session_id=path_name(request, "sid"),
            variable_name=path_name(request, "name"),
            expected_revision=_revision(request),
        )
        return status_response(await self._calls.ask(request, "delete_session_variable", asked))

    async def watch(self, request: Request) -> EventStream:
        """Watches variables; ``?names=a,b``, and ``Last-Event-ID`` to go on where a watch was.

        A name with a comma in it is given as ``?name=``, which may be repeated. With ``?secrets=false``, changes of
        secret variables come without their values.
        """
        asked = pb.WatchVariablesRequest(
            session_id=path_name(request, "sid"),
            variable_names=[*names_of(request, "names"), *request.query_params.getlist("name")],
            include_initial=flag_of(request, "initial", default=True),
        )
        last = request.headers.get("last-event-id", "")
        epoch, separator, text = last.rpartition(":")
        revision = whole_number(text, MAX_REVISION)
        if separator and revision is not None:
            asked.epoch, asked.from_revision = epoch, revision
        elif last:
            raise ValidationError(f"Last-Event-ID must be 'epoch:revision' of an earlier event, not {last!r:.80}")
        updates = self._calls.ask(request, "watch_session_variables", asked)
        with_secrets = flag_of(request, "secrets", default=True)
        return self._calls.event_stream(request, _changes(updates, with_secrets=with_secrets))


async def _changes(updates: AsyncGenerator[Any, None], *, with_secrets: bool) -> AsyncGenerator[Event, None]:
    async with aclosing(updates):
        async for update in updates:
            if update.secret and not with_secrets:
                update.ClearField("value")
            has_value = update.HasField("value")
            # First: what cannot be shown is an error of its own, which the message has not.
            value = await _shown(update.name, update.value, secret=update.secret) if has_value else None
            change = message_json(update)
            change["value"] = value
            yield Event("data", change, f"{update.epoch}:{update.revision}" if update.revision else "")


async def _shown(name: str, value: AnyMessage, *, secret: bool) -> Any:
    """Returns the value of a variable as JSON; if it is none of its type, the error has no piece of a secret one."""
    try:
        return await value_json(value)
    except SerializationError as error:
        if not secret:
            raise
        raise unreadable_secret(name, error) from None


def page_of(request: Request, asked: Any) -> Any:
    """Fills in which page is asked for: ``?page_token=`` and ``?page_size=``."""
    asked.page_token, asked.page_size = request.query_params.get("page_token", ""), count_of(request, "page_size")
    return asked


def page_of_hubs(request: Request, asked: Any) -> Any:
    """Fills in which page of a list of all hubs is asked for: as ``page_of``, and ``?hub=`` chooses one hub."""
    asked.hub = request.query_params.get("hub", "")
    return page_of(request, asked)


def _revision(request: Request) -> int | None:
    text = request.headers.get("if-match")
    if text is None:
        return None
    quoted = len(text) > 1 and text[0] == text[-1] == '"'
    revision = whole_number(text[1:-1] if quoted else text, MAX_REVISION)
    if revision is None:
        raise ValidationError(f"If-Match must be a revision, not {text!r:.60}")
    return revision


def _parse(given: dict[str, Any], message: Any, name: str) -> None:
    try:
        ParseDict(given, message)
    except (ParseError, ValueError, TypeError, AttributeError) as error:
        raise ValidationError(f"{name}: {error}") from None
