"""Makes the image of a session from its chain."""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from grpc_tool_bridge.cluster.journal.changes import KeptCall
from grpc_tool_bridge.cluster.journal.image import SessionImage
from grpc_tool_bridge.config import Settings
from grpc_tool_bridge.core.sealing import StoreSealing
from grpc_tool_bridge.core.stored import StoredRun, StoredSession
from grpc_tool_bridge.core.variable import Change, Variable
from grpc_tool_bridge.proto import dspex_bridge_journal_pb2 as journal


def image_of(
    session_id: str, bodies: Iterable[journal.JournalBody], settings: Settings, sealing: StoreSealing | None = None
) -> SessionImage:
    """Returns what the bodies of a chain say together; the first of them is a snapshot.

    Args:
        session_id: The session.
        bodies: As ``ChainReader.bodies`` returns them.
        settings: How much of what has been is kept.
        sealing: Opens the values; None: there are no keys.
    """
    image = SessionImage(settings, session_id, sealing)
    for body in bodies:
        for change in body.changes:
            apply(image, change)
    return image


def apply(image: SessionImage, change: journal.JournalChange) -> None:
    """Makes a change to an image; one that a newer hub wrote, and that means nothing to this one, is passed over."""
    kind = change.WhichOneof("change")
    if kind is not None:
        _APPLY[kind](image, getattr(change, kind))


def _create(image: SessionImage, change: journal.JournalCreate) -> None:
    request = change.request
    config = _copied(request.config) if request.HasField("config") else None
    session = StoredSession(image.session_id, change.created_at, dict(request.metadata), config)
    image.create(session, floor=change.history_floor, lost_delete=change.lost_delete)


def _set(image: SessionImage, change: journal.JournalSet) -> None:
    variable = Variable(
        change.name,
        image.opened(_copied(change.value), change.name, change.revision, secret=change.secret),
        # There are few types.
        sys.intern(change.type),
        change.size,
        change.created_at,
        change.updated_at,
        change.revision,
        change.held,
        change.created_by,
        change.secret,
        dict(change.tags) if change.tags else _NO_TAGS,
    )
    image.set_variable(variable, change.previous, hides=change.hides, forgotten=change.forgotten)


def _delete(image: SessionImage, change: journal.JournalDelete) -> None:
    image.delete_variable(
        Change("delete", change.name, None, change.revision, change.at, 0, change.previous, change.secret)
    )


def _keep_answer(image: SessionImage, change: journal.JournalKeepAnswer) -> None:
    known = image.call(change.key)
    if known is not None:
        image.set_call(change.key, KeptCall(known.used_for, change.ends_at, change.answer))


def _give_up_call(image: SessionImage, change: journal.JournalGiveUpCall) -> None:
    known = image.call(change.key)
    if known is not None:
        image.set_call(change.key, KeptCall(known.used_for, change.ends_at))


def _begin_run(image: SessionImage, change: journal.JournalBeginRun) -> None:
    image.begin_run(StoredRun(change.run_id, change.agent_id, change.digest, change.started_at))


def _add_chunk(image: SessionImage, change: journal.JournalAddChunk) -> None:
    image.add_chunk(change.run_id, change.sequence, change.data, is_last=change.is_last)


_APPLY: Mapping[str, Callable[[SessionImage, Any], None]] = {
    "create": _create,
    "end": lambda image, change: image.end(change.why, change.at),
    "take": lambda image, change: image.take(change.calls_end_at),
    "set": _set,
    "delete": _delete,
    "begin_call": lambda image, change: image.set_call(change.key, KeptCall(change.used_for, change.ends_at)),
    "keep_answer": _keep_answer,
    "give_up_call": _give_up_call,
    "free_call": lambda image, change: image.set_call(change.key, None),
    "add_agent": lambda image, change: image.add_agent(change.agent_id, _copied(change.definition)),
    "begin_run": _begin_run,
    "add_chunk": _add_chunk,
    "drop_chunks": lambda image, change: image.drop_chunks(change.run_id, change.before),
    "drop_run": lambda image, change: image.drop_run(change.run_id),
}

_NO_TAGS: Mapping[str, str] = {}


def _copied(message: Message) -> Any:
    """Copies a part of a message: one that is kept would keep all of it in memory."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy
