"""Finds in a history what a durable store must not let happen."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

from durability.clients import Seen, Watcher
from durability.history import OK, REFUSED, UNKNOWN, Operation, by_target
from durability.linearizable import first_violation

# The state of a variable, or a session, that is not there.
ABSENT = "absent"

# Operations that are told of a variable that is not linearizable.
_TOLD = 30

# A change as it is stored: of a session, with its revision, operation, name and value.
Stored = tuple[str, int, str, str, Any]


# ------------------------------------------------------------------------------------------------------ variables


class Register:
    """A variable; its state is its value, since no two changes set the same one.

    Args:
        revision_of: The revisions of values that are known to anybody.
    """

    def __init__(self, revision_of: Mapping[Any, int]) -> None:
        self._revision_of = revision_of
        self._known = frozenset(revision_of.values())

    def step(self, state: Hashable, operation: Operation) -> Hashable | None:
        """Returns the state after an operation; None: it cannot have ended so. See ``linearizable.Step``."""
        if operation.outcome == REFUSED:
            return state if self._is_right_to_refuse(state, operation) else None
        if operation.kind == "get":
            value = operation.answer.get("value")
            return state if state == (ABSENT if value is None else value) else None
        if operation.kind == "list":
            return state if self._is_at(state, operation.answer["revision"]) else None
        expected = operation.asked.get("expected")
        if expected is not None and not self._is_at(state, expected):
            return None
        if operation.kind == "delete":
            return ABSENT if state != ABSENT else None
        value = operation.asked["value"]
        assert isinstance(value, Hashable)
        return value

    def _is_right_to_refuse(self, state: Hashable, operation: Operation) -> bool:
        expected, present = operation.asked.get("expected"), operation.answer.get("revision")
        is_missing = operation.kind == "delete" and present == 0
        return self._is_at(state, present) and (is_missing or expected not in (None, present))

    def _is_at(self, state: Hashable, revision: int | None) -> bool:
        if state == ABSENT:
            return revision == 0
        known = self._revision_of.get(state)
        # Of a value that nobody has read, the revision may be any that is nobody else's.
        return revision == known if known is not None else bool(revision) and revision not in self._known


def check_variables(
    operations: Sequence[Operation], names: Sequence[str], stored: Sequence[Stored] = ()
) -> Iterable[str]:
    """Finds reads and changes of variables that no order of all of them explains.

    Args:
        operations: All operations.
        names: The variables that a list may tell of.
        stored: All changes of the sessions that have not ended, if they are known: what nobody knows of and is not
            among them has had no effect.
    """
    kept = {value: revision for _, revision, _, _, value in stored if value is not None}
    sessions = {session for session, *_ in stored}
    writes = [
        operation
        for operation in operations
        if operation.kind == "delete"
        or (operation.kind == "set" and not _had_no_effect(operation, operation.session in sessions, kept))
    ]
    reads = [operation for operation in operations if operation.kind == "get" and operation.outcome == OK]
    revision_of = {
        **kept,
        **{read.answer["value"]: read.answer["revision"] for read in reads if read.answer["value"] is not None},
        **{write.asked["value"]: write.answer["revision"] for write in writes if "revision" in _acknowledged(write)},
    }
    listed = [part for each in operations if each.kind == "list" and each.outcome == OK for part in _parts(each, names)]
    for (session, name), group in sorted(by_target([*writes, *reads, *listed]).items()):
        violation = first_violation(group, ABSENT, Register(revision_of).step)
        if violation is not None:
            yield f"variable {name} of {session} is not linearizable: {violation}, among {_around(violation, group)}"


def _had_no_effect(write: Operation, is_known: bool, kept: Mapping[Any, int]) -> bool:
    return is_known and write.outcome in ("", UNKNOWN) and write.asked["value"] not in kept


def _around(operation: Operation, others: Sequence[Operation]) -> str:
    """Tells what others have done shortly before an operation, and in the time of it."""
    before = sorted((each for each in others if each.start <= operation.closed), key=lambda each: each.closed)
    return "\n".join(map(str, before[-_TOLD:]))


def _acknowledged(operation: Operation) -> dict[str, Any]:
    return operation.answer if operation.outcome == OK else {}


def _parts(listing: Operation, names: Sequence[str]) -> Iterable[Operation]:
    """Yields what a list says of each variable."""
    for name in names:
        answer = {"revision": listing.answer["revisions"].get(name, 0)}
        yield Operation(
            listing.client, "list", listing.session, name, {}, listing.start, listing.end, OK, answer, listing.number
        )


def check_revisions(operations: Sequence[Operation], watchers: Sequence[Watcher]) -> Iterable[str]:
    """Finds revisions that were given to two changes, and changes with a lower one than a change before them."""
    owners: dict[int, tuple[Any, ...]] = {}
    for revision, *owner in _owners(operations, watchers):
        known = owners.setdefault(revision, tuple(owner))
        if known != tuple(owner):
            yield f"revision {revision} is that of {known} and of {owner}"
    acknowledged = [each for each in operations if each.kind == "set" and each.outcome == OK]
    highest, ended = 0, sorted(acknowledged, key=lambda each: each.closed)
    for write in sorted(acknowledged, key=lambda each: each.start):
        while ended and ended[0].closed <= write.start:
            highest = max(highest, ended.pop(0).answer["revision"])
        if write.answer["revision"] <= highest:
            yield f"a change before it had revision {highest}: {write}"


def _owners(operations: Sequence[Operation], watchers: Sequence[Watcher]) -> Iterable[tuple[Any, ...]]:
    """Yields each revision that anybody was told, with the session, the variable and the value."""
    for each in operations:
        if each.outcome == OK and each.kind == "set":
            yield each.answer["revision"], each.session, each.name, each.asked["value"]
        elif each.outcome == OK and each.kind == "get" and each.answer["value"] is not None:
            yield each.answer["revision"], each.session, each.name, each.answer["value"]
    for watcher in watchers:
        for operation, name, value, revision in watcher.seen:
            if operation != "reset":
                yield revision, watcher.session, name, value


def check_stored(operations: Sequence[Operation], stored: Sequence[Stored]) -> Iterable[str]:
    """Finds acknowledged changes that are not stored; ``stored`` has those of all sessions that have not ended."""
    found = {(session, name, value): revision for session, revision, _, name, value in stored if value is not None}
    sessions = {session for session, *_ in stored}
    for write in operations:
        if write.kind == "set" and write.outcome == OK and write.session in sessions:
            revision = found.get((write.session, write.name, write.asked["value"]))
            if revision != write.answer["revision"]:
                yield f"stored at revision {revision}: {write}"
    for session in sessions:
        deletions = sum(change[0] == session and change[2] == "delete" for change in stored)
        told = [each for each in operations if each.kind == "delete" and each.session == session]
        least = sum(each.outcome == OK for each in told)
        most = least + sum(each.outcome in ("", UNKNOWN) for each in told)
        if not least <= deletions <= most:
            yield f"session {session} has {deletions} stored deletions, {least} to {most} were made"


def check_watch(watcher: Watcher, stored: Sequence[Stored]) -> Iterable[str]:
    """Finds what a watch has missed, repeated or made up, beside the changes that are stored."""
    changes: list[Seen] = [
        (operation, name, value, revision)
        for session, revision, operation, name, value in stored
        if session == watcher.session
    ]
    # Otherwise it began with the values that were present then.
    begins = [watcher.after] if watcher.after is not None else [0, *(revision for *_, revision in changes)]
    due: list[Seen] = []
    for begin in begins:
        initial = _present(changes, begin) if watcher.after is None else []
        due = [
            change
            for change in [*initial, *(change for change in changes if change[3] > begin)]
            if not watcher.names or change[1] in watcher.names
        ]
        if watcher.is_stopped:
            due = due[: len(watcher.seen)]
        if due == watcher.seen:
            return
    if watcher.after is None:
        due = [change for change in changes if not watcher.names or change[1] in watcher.names]
    yield f"a watch of {watcher.session} after {watcher.after} has {_difference(due, watcher.seen)}"


def _present(changes: Sequence[Seen], until: int) -> list[Seen]:
    present: dict[str, Seen] = {}
    for change in changes:
        if change[3] > until:
            break
        present.pop(change[1], None)
        if change[0] != "delete":
            present[change[1]] = ("set", *change[1:])
    return list(present.values())


def _difference(due: Sequence[Seen], seen: Sequence[Seen]) -> str:
    known = set(due)
    missed = [change for change in due if change not in set(seen)]
    repeated = [change for change, count in Counter(seen).items() if count > 1]
    others = [change for change in seen if change not in known]
    return f"missed {missed[:5]}, repeated {repeated[:5]}, others {others[:5]}; it saw {seen[:3]} … {seen[-3:]}"


# ---------------------------------------------------------------------------------------------------------- calls


def check_calls(operations: Sequence[Operation], effects: Mapping[str, Sequence[str]]) -> Iterable[str]:
    """Finds calls with too many effects or too few, and answers that are not those of the one effect."""
    for (_, key), calls in sorted(by_target(each for each in operations if each.kind.startswith("call")).items()):
        done = effects.get(key, ())
        answers = {call.answer["effect"] for call in calls if call.outcome == OK}
        may_repeat = any(call.asked.get("tool") == "append_again" for call in calls)
        if len(done) > 1 and not may_repeat:
            yield f"{len(done)} effects of {key}: {_told(calls)}"
        if len(answers) > 1:
            yield f"several answers for {key}: {_told(calls)}"
        if not answers <= set(done):
            yield f"no such effect of {key} ({done}): {_told(calls)}"
        yield from _check_doubt(key, calls, may_repeat=may_repeat)


def _check_doubt(key: str, calls: Sequence[Operation], *, may_repeat: bool) -> Iterable[str]:
    """Finds a key that is refused although its outcome was known, or answered although it was not."""
    refused = [call for call in calls if call.outcome == REFUSED]
    for call in refused:
        unanswered = [each for each in calls if each.outcome in ("", UNKNOWN) and each.start < call.closed]
        if not call.answer.get("in_doubt") or may_repeat or not unanswered:
            yield f"{key} is refused without a reason: {_told(calls)}"
        if any(each.outcome == OK and each is not call for each in calls):
            yield f"{key} is answered and in doubt: {_told(calls)}"


def _told(operations: Iterable[Operation]) -> str:
    return "; ".join(map(str, operations))


# ------------------------------------------------------------------------------------------------------- sessions


def step_session(state: Hashable, operation: Operation) -> Hashable | None:
    """Returns the state of a session after an operation; see ``linearizable.Step``."""
    kind, is_live = operation.kind, state == "live"
    if operation.outcome == REFUSED:
        if "session" in operation.answer:
            return state if state == ABSENT else None
        # While it is being removed, it takes nothing more, whatever becomes of that.
        return state if state == "ended" or not operation.answer.get("ended") else None
    if kind == "create":
        resumed = operation.answer.get("resumed")
        return "live" if resumed is None or resumed == is_live else None
    if not is_live:
        return None
    return "ended" if kind == "remove" else state


def check_sessions(operations: Sequence[Operation]) -> Iterable[str]:
    """Finds sessions that were lost, came back, or began another time."""
    groups = by_target(each for each in operations if each.kind in {"create", "remove", "look"})
    for (session, _), group in sorted(groups.items()):
        violation = first_violation(group, ABSENT, step_session)
        if violation is not None:
            yield f"session {session}: {violation} cannot be, after {_told(group)}"
        # No session is created again that was removed.
        began = {look.answer["created_at"] for look in group if look.kind == "look" and look.outcome == OK}
        if len(began) > 1:
            yield f"session {session} began at {sorted(began)}"


# ----------------------------------------------------------------------------------------------------------- runs


def check_runs(operations: Sequence[Operation]) -> Iterable[str]:
    """Finds agents and runs that were lost, and chunks that were lost, repeated or replaced."""
    for read in operations:
        if read.kind in {"agent", "run"} and read.outcome == REFUSED:
            yield f"refused: {read}"
    for (session, run), reads in sorted(by_target(each for each in operations if each.kind == "run").items()):
        for wrong in _check_run(reads):
            yield f"run {run} of {session} {wrong}: {_told(reads)}"


def _check_run(reads: Sequence[Operation]) -> Iterable[str]:
    chunks: dict[int, str] = {}
    ends = set()
    for read in reads:
        seen = read.answer.get("chunks", [])
        if [sequence for sequence, _ in seen] != list(range(len(seen))):
            yield "has gaps"
        if any(chunks.setdefault(sequence, chunk) != chunk for sequence, chunk in seen):
            yield "has another chunk"
        if read.outcome == OK:
            ends.add((len(seen), read.answer["end"]))
    if len(ends) > 1:
        yield "ends in several ways"
    if ends and max(chunks, default=-1) >= max(ends)[0]:
        yield "goes on after its end"
