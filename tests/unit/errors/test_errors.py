"""The error tree, the table, and the way between an exception and the wire."""

import copy
import importlib
import multiprocessing
import pickle
import pkgutil
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

import grpc_tool_bridge
from grpc_tool_bridge import errors
from grpc_tool_bridge.errors import (
    ERROR_TABLE,
    MAX_DETAIL_CHARS,
    MAX_DETAILS,
    MAX_MESSAGE_CHARS,
    AccessError,
    AlreadyExistsError,
    CallCancelledError,
    ConflictError,
    DeadlineExceededError,
    InternalError,
    MessageTooLargeError,
    NotFoundError,
    ProtocolError,
    ResourceExhaustedError,
    SerializationError,
    SessionExpiredError,
    SessionNotFoundError,
    StoreError,
    ToolBridgeError,
    ToolCommunicationError,
    ToolExecutionError,
    ToolTimeoutError,
    UnavailableError,
    UnimplementedError,
    ValidationError,
    error_from_info,
    error_info,
    error_rule,
    format_tool_traceback,
    wire_text,
)
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ErrorInfo
from support.patience import PATIENCE

# The contract's table: type, status, HTTP, retryable.
TABLE = [
    ("ToolNotFound", "NOT_FOUND", 404, False, NotFoundError),
    ("VariableNotFound", "NOT_FOUND", 404, False, NotFoundError),
    ("AgentNotFound", "NOT_FOUND", 404, False, NotFoundError),
    ("SessionNotFound", "NOT_FOUND", 404, False, SessionNotFoundError),
    ("SessionExpired", "FAILED_PRECONDITION", 410, False, SessionExpiredError),
    ("ValidationError", "INVALID_ARGUMENT", 422, False, ValidationError),
    ("SerializationError", "INVALID_ARGUMENT", 422, False, SerializationError),
    ("AlreadyExists", "ALREADY_EXISTS", 409, False, AlreadyExistsError),
    ("RevisionConflict", "ABORTED", 409, False, ConflictError),
    ("IdempotencyConflict", "ABORTED", 409, False, ConflictError),
    ("RateLimitExceeded", "RESOURCE_EXHAUSTED", 429, True, ResourceExhaustedError),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED", 429, True, ResourceExhaustedError),
    ("TimeoutError", "DEADLINE_EXCEEDED", 504, True, DeadlineExceededError),
    ("Cancelled", "CANCELLED", 499, False, CallCancelledError),
    ("MessageTooLarge", "RESOURCE_EXHAUSTED", 413, False, MessageTooLargeError),
    ("WorkerUnavailable", "UNAVAILABLE", 503, True, UnavailableError),
    ("PermissionDenied", "PERMISSION_DENIED", 403, False, AccessError),
    ("Unauthenticated", "UNAUTHENTICATED", 401, False, AccessError),
    ("Unimplemented", "UNIMPLEMENTED", 501, False, UnimplementedError),
    ("InternalError", "INTERNAL", 500, False, InternalError),
]


@pytest.mark.parametrize(("error_type", "status", "http", "retryable", "kind"), TABLE)
def test_a_type_of_the_table_goes_to_the_wire_and_back(
    error_type: str, status: str, http: int, retryable: bool, kind: type[ToolBridgeError]
) -> None:
    rule = error_rule(error_type)
    assert (rule.status, rule.http, rule.retryable) == (status, http, retryable)
    back = error_from_info(error_info(kind("it went wrong", error_type=error_type, details={"k": "v"})))
    assert type(back) is kind
    assert (back.error_type, back.message, back.retryable) == (error_type, "it went wrong", retryable)
    assert back.details == {"k": "v", "origin": "bridge"}


def test_the_table_is_the_contracts() -> None:
    assert list(ERROR_TABLE) == [row[0] for row in TABLE]


def test_a_tools_own_exception_is_unknown_whatever_its_name() -> None:
    assert error_rule("LookupError").status == "UNKNOWN"
    assert error_rule("TimeoutError", origin="tool").status == "UNKNOWN"
    assert error_rule("TimeoutError", origin="tool").retryable is False


def test_every_class_of_the_tree_is_drawn_in_the_docstring() -> None:
    drawn = set(re.findall(r"\b\w+Error\b", errors.__doc__ or ""))
    made = {
        name
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, ToolBridgeError) and kind.__module__ == errors.__name__
    }
    assert made <= drawn


def test_errors_are_those_of_python_too_where_there_is_one() -> None:
    assert issubclass(ToolTimeoutError, TimeoutError)
    assert issubclass(DeadlineExceededError, TimeoutError)
    for kind in (AlreadyExistsError, ValidationError, SerializationError):
        assert issubclass(kind, ValueError)
    for session in (SessionNotFoundError, SessionExpiredError):
        assert issubclass(session, NotFoundError)


def test_the_details_of_an_error_are_its_own() -> None:
    details = {"k": "v"}
    error = ToolBridgeError("m", details=details)
    details["k"] = "changed"
    assert error.details == {"k": "v"}


@pytest.mark.parametrize(
    ("details", "seconds"),
    [
        ({"retry_after": "1.5"}, 1.5),
        ({"retry_after": "0"}, 0.0),
        ({}, None),
        ({"retry_after": "soon"}, None),
        ({"retry_after": "-1"}, None),
        ({"retry_after": "inf"}, None),
        ({"retry_after": "nan"}, None),
    ],
)
def test_when_to_come_back_is_a_number_of_seconds_or_not_known(details: dict[str, str], seconds: float | None) -> None:
    assert ResourceExhaustedError("m", details=details).retry_after == seconds


def test_an_error_that_was_not_answered_does_not_say_when_to_come_back() -> None:
    error = ToolCommunicationError("add", SimpleNamespace(name="UNAVAILABLE"), "nobody there")
    assert error.retry_after is None
    assert (error.retryable, error.code_name, str(error)) == (True, "UNAVAILABLE", "add: UNAVAILABLE: nobody there")
    silent = ToolCommunicationError("add", SimpleNamespace(name="INTERNAL"))
    assert (silent.retryable, str(silent)) == (False, "add: INTERNAL: INTERNAL")


def test_a_message_too_large_says_how_large_and_what_to_do() -> None:
    error = MessageTooLargeError.of("the call of add", 12_345_678, 10_485_760)
    assert error.message.startswith(
        "message too large: the call of add takes 12,345,678 bytes, the limit is 10,485,760;"
    )
    assert "raise max_message_bytes" in error.message
    assert error.details == {"size": "12345678", "limit": "10485760"}
    assert error.retryable is False


def test_a_tool_error_shows_tool_type_and_message() -> None:
    error = ToolExecutionError("add", "LookupError", "it", {"k": "v"}, remote_traceback="Traceback …\n")
    assert str(error) == "add: LookupError: it"
    assert error.details["k"] == "v"
    assert error.__notes__ == ["Remote traceback:\nTraceback …"]


# ------------------------------------------------------------------------------------------------------- to the wire


def test_what_a_tool_raised_keeps_its_name_and_message() -> None:
    info = error_info(LookupError("it"), raised_by_tool=True)
    assert (info.type, info.message, info.retryable, info.stacktrace) == ("LookupError", "it", False, "")
    assert dict(info.details) == {"origin": "tool"}
    assert info.HasField("timestamp")


def test_a_tool_may_mark_its_exception_retryable() -> None:
    class Busy(Exception):
        retryable = True

    class Odd(Exception):
        retryable = "yes"

    assert error_info(Busy(), raised_by_tool=True).retryable
    assert not error_info(Odd(), raised_by_tool=True).retryable


def test_an_error_of_the_bridge_that_left_a_tool_is_the_tools_and_not_worth_repeating() -> None:
    info = error_info(UnavailableError("m", details={"origin": "bridge"}), raised_by_tool=True)
    assert (info.type, info.details["origin"], info.retryable) == ("WorkerUnavailable", "tool", False)


def test_of_any_other_exception_nothing_but_an_id_is_told() -> None:
    info = error_info(LookupError("secret"))
    assert info.type == "InternalError"
    assert "secret" not in str(info)
    assert info.details["error_id"] in info.message
    assert error_info(LookupError("secret")).details["error_id"] != info.details["error_id"]


def test_an_unanswered_call_goes_on_as_text() -> None:
    info = error_info(ToolCommunicationError("add", SimpleNamespace(name="UNAVAILABLE"), "nobody"), raised_by_tool=True)
    assert info.details["details"] == "nobody"


def raises() -> None:
    raise LookupError("it")


def test_a_traceback_is_shown_where_it_may_be_and_names_the_tools_own_lines() -> None:
    with pytest.raises(LookupError) as got:
        raises()
    shown = error_info(got.value, raised_by_tool=True, show_traceback=True).stacktrace
    assert "in raises" in shown
    assert Path(__file__).name in shown
    assert error_info(got.value, raised_by_tool=True).stacktrace == ""


def test_the_bridges_own_frames_above_the_tools_are_left_out() -> None:
    frame: dict[str, Any] = {"__name__": "grpc_tool_bridge.core.executor", "raises": raises}
    exec("def invoke():\n    raises()", frame)
    for start, first in (("invoke", "in raises"), ("fault", "in fault")):
        exec("def fault():\n    raise LookupError('of the bridge')", frame)
        with pytest.raises(LookupError) as got:
            frame[start]()
        error = got.value
        error.__traceback__ = error.__traceback__.tb_next if error.__traceback__ else None
        text = format_tool_traceback(error)
        assert first in text
        assert "in invoke" not in text


def test_a_nested_tools_traceback_is_kept() -> None:
    inner = ToolExecutionError("add", "LookupError", "it", remote_traceback="the inner one")
    assert error_info(inner, raised_by_tool=True, show_traceback=True).stacktrace == "the inner one"


def test_an_exception_whose_text_cannot_be_made_is_told_all_the_same() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise KeyError

    info = error_info(Broken(), raised_by_tool=True, show_traceback=True)
    assert (info.type, info.message) == ("Broken", "<no text: its __str__ raised KeyError>")


def test_what_goes_to_the_wire_is_bounded() -> None:
    details = {f"k{number}": "x" * 100_000 for number in range(1_000)}
    info = error_info(ValidationError("m" * 1_000_000, details=details))
    assert len(info.message) < MAX_MESSAGE_CHARS + 100
    assert info.message.endswith("more characters)")
    assert len(info.details) <= MAX_DETAILS
    assert max(map(len, info.details.values())) < MAX_DETAIL_CHARS + 100


@given(st.text(alphabet=st.characters(), max_size=50), st.integers(0, 60))
def test_any_text_fits_for_the_wire(text: str, limit: int) -> None:
    fitting = wire_text(text, limit)
    ErrorInfo(message=fitting)
    if len(text) <= limit and text.isascii():
        assert fitting == text
    assert len(fitting) <= 6 * limit + 40


def test_lone_surrogates_are_escaped_and_all_else_is_kept() -> None:
    assert wire_text("ok ü 値 😀", 100) == "ok ü 値 😀"
    assert wire_text("a\ud800b", 100) == "a\\ud800b"


# ----------------------------------------------------------------------------------------------------- from the wire


def test_the_answer_to_a_tools_call_is_a_tool_error() -> None:
    info = ErrorInfo(type="LookupError", message="it", stacktrace="Traceback", details={"origin": "tool"})
    error = error_from_info(info, "add")
    assert type(error) is ToolExecutionError
    assert (error.tool_name, error.error_type, error.remote_traceback) == ("add", "LookupError", "Traceback")
    assert not error.retryable


def test_a_passed_deadline_is_a_time_out_and_a_tools_own_time_out_is_not() -> None:
    assert type(error_from_info(ErrorInfo(type="TimeoutError", message="m"), "add")) is ToolTimeoutError
    own = ErrorInfo(type="TimeoutError", message="m", details={"origin": "tool"})
    assert type(error_from_info(own, "add")) is ToolExecutionError
    assert not error_from_info(own, "add").retryable


def test_the_table_knows_what_is_retryable_where_a_peer_left_the_flag_out() -> None:
    assert error_from_info(ErrorInfo(type="WorkerUnavailable", message="m")).retryable
    assert error_from_info(ErrorInfo(type="Strange", message="m", retryable=True)).retryable
    assert not error_from_info(ErrorInfo(type="Strange", message="m")).retryable


@pytest.mark.parametrize("tool", [None, "add"])
def test_an_error_that_may_not_be_retried_says_so_though_its_type_may(tool: str | None) -> None:
    damaged = StoreError("the store is damaged", retryable=False, details={"outcome": "unknown"})
    for error in (damaged, error_from_info(error_info(damaged), tool)):
        info = error_info(error)
        back = error_from_info(info, tool)
        assert (info.type, info.retryable, back.retryable) == ("WorkerUnavailable", False, False)
        assert back.details == {"origin": "bridge", "outcome": "unknown"}
    # Only where the table says otherwise.
    assert "retryable" not in error_info(ValidationError("no")).details
    assert "retryable" not in error_info(StoreError("it is busy")).details


def test_an_unknown_type_is_an_error_of_the_base_class() -> None:
    error = error_from_info(ErrorInfo(type="Strange", message="m"))
    assert type(error) is ToolBridgeError
    assert error.error_type == "Strange"


@pytest.mark.parametrize(
    ("info", "missing"),
    [
        (None, "type"),
        (SimpleNamespace(), "type"),
        (SimpleNamespace(type="", message="m"), "type"),
        (SimpleNamespace(type=5, message="m"), "type"),
        (SimpleNamespace(type="T"), "message"),
        (SimpleNamespace(type="T", message=b"m"), "message"),
        (ErrorInfo(), "type"),
    ],
)
def test_an_answer_without_type_or_message_breaks_the_protocol(info: Any, missing: str) -> None:
    with pytest.raises(ProtocolError, match=rf"the answer to add reports a failure, but has no error\.{missing}"):
        error_from_info(info, "add")
    with pytest.raises(ProtocolError, match="the answer to a call"):
        error_from_info(info)


def test_other_fields_that_are_missing_or_wrong_count_as_absent() -> None:
    for info in (
        SimpleNamespace(type="T", message="m"),
        SimpleNamespace(type="T", message="m", details=5, stacktrace=5, retryable="yes"),
    ):
        error = error_from_info(info)
        assert (error.details, error.remote_traceback, error.retryable) == ({}, "", False)
    mixed = SimpleNamespace(type="T", message="m", details={"k": "v", "n": 5, 7: "x"}, retryable=True)
    assert error_from_info(mixed).details == {"k": "v"}
    assert error_from_info(mixed).retryable


# ------------------------------------------------------------------------------------------------ pickled and copied


class OfAUser(ToolBridgeError):
    """Its ``__init__`` takes something else than its base."""

    __slots__ = ("row",)

    def __init__(self, *, file: str, row: int) -> None:
        super().__init__(f"{file} is broken at row {row}", details={"file": file})
        self.file = file
        self.row = row


class OfAUserToo(ToolTimeoutError):
    """Likewise, and is also a TimeoutError."""

    def __init__(self, what: str) -> None:
        super().__init__(what, "TimeoutError", "it took too long")


class Silent(ToolBridgeError):
    """Does not call ``__init__`` of its base."""

    def __init__(self, one: int, two: int) -> None:
        self.sum = one + two


def _classes() -> set[type[BaseException]]:
    """All exceptions of the package, those included that nobody outside should meet."""
    found: set[type[BaseException]] = set()
    for item in pkgutil.walk_packages(grpc_tool_bridge.__path__, "grpc_tool_bridge."):
        if not item.name.endswith("__main__"):
            module = importlib.import_module(item.name)
            kinds = [kind for kind in vars(module).values() if isinstance(kind, type) and kind.__module__ == item.name]
            found.update(kind for kind in kinds if issubclass(kind, BaseException))
    return found


# What those are made with that are not made with a message alone.
MADE_WITH: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "ApiError": (("m", 404), {}),
    "ToolExecutionError": (
        ("add", "KeyError", "'k'", {"origin": "tool"}),
        {"retryable": True, "remote_traceback": "T"},
    ),
    "ExternalToolError": (("add", "WorkerUnavailable", "m", {"origin": "bridge"}), {"retryable": True}),
    "ToolTimeoutError": (("add", "TimeoutError", "m", {"started": "false"}), {}),
    "ToolCommunicationError": (("add", grpc.StatusCode.UNAVAILABLE, "nobody"), {}),
    "HttpError": ((404, "RouteNotFound", "m"), {"headers": {"allow": "GET"}}),
    "WorkerLostError": (("m",), {"began": True}),
    "CommandError": (("m",), {"code": 7, "traceback": "T"}),
    "RaisedElsewhereError": ((ErrorInfo(type="KeyError", message="'k'"),), {}),
    "FormattedError": ((ErrorInfo(type="KeyError", message="'k'"),), {"is_timeout": True}),
    "PeerLostError": (("m",), {"began": True}),
    "BehindError": ((True,), {}),
    "MaybeStoredError": (("m", "id"), {}),
    "WrongSequenceError": (("bridge.s.1", 7), {}),
    "_ToolRaised": ((KeyError("k"),), {}),
    "_Status": ((grpc.StatusCode.UNAVAILABLE, "m"), {}),
}


def _made(kind: type[BaseException]) -> BaseException:
    args, kwargs = MADE_WITH.get(kind.__name__, (("m",), {}))
    if issubclass(kind, ToolBridgeError) and kind.__name__ not in MADE_WITH:
        kwargs = {"error_type": "Other", "details": {"k": "v"}, "retryable": True, "remote_traceback": "T"}
    error = kind(*args, **kwargs)
    error.add_note("while reading row 3")
    return error


def _same(value: Any) -> Any:
    """What two equal exceptions have in common."""
    if isinstance(value, BaseException):
        return type(value), str(value), _same(value.args), _same(vars(value))
    if isinstance(value, ErrorInfo):
        return value.SerializeToString()
    if isinstance(value, dict):
        return {key: _same(item) for key, item in value.items()}
    return tuple(map(_same, value)) if isinstance(value, tuple) else value


def _through_pickle(protocol: int, error: Any) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle 0": partial(_through_pickle, 0),
    "pickle 2": partial(_through_pickle, 2),
    "pickle": partial(_through_pickle, pickle.HIGHEST_PROTOCOL),
}


@pytest.mark.parametrize("kind", sorted(_classes(), key=str))
@pytest.mark.parametrize("how", COPIES)
def test_every_exception_of_the_package_is_the_same_when_pickled_or_copied(how: str, kind: type[BaseException]) -> None:
    error = _made(kind)
    again = COPIES[how](error)
    assert again is not error
    assert _same(again) == _same(error)
    assert again.__notes__[-1] == "while reading row 3"


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("make", [lambda: OfAUser(file="f", row=3), lambda: OfAUserToo("add"), lambda: Silent(1, 2)])
def test_an_error_that_a_user_derives_is_the_same_when_pickled_or_copied(how: str, make: Callable[[], Any]) -> None:
    error = make()
    again = COPIES[how](error)
    assert _same(again) == _same(error)
    assert getattr(again, "row", None) == getattr(error, "row", None)
    assert repr(again) == repr(error)


def test_a_cause_is_pickled_and_copied_as_python_does_it() -> None:
    errors: list[Exception] = [ValueError("m"), ToolBridgeError("m")]
    for error in errors:
        error.__cause__ = KeyError("k")
        assert [how(error).__cause__ for how in COPIES.values()] == [None] * len(COPIES)


def fails_in_another_process(kind: str) -> None:
    raise {
        "tool": ToolExecutionError("add", "KeyError", "'k'", {"origin": "tool"}, remote_traceback="Traceback …"),
        "time-out": ToolTimeoutError("add", "TimeoutError", "m"),
        "unanswered": ToolCommunicationError("add", grpc.StatusCode.UNAVAILABLE, "nobody"),
        "session": SessionExpiredError("m", details={"k": "v"}),
        "user": OfAUser(file="f", row=3),
    }[kind]


@pytest.fixture(scope="module")
def pools() -> Iterator[tuple[Any, Any]]:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as executor, spawn.Pool(1) as pool:
        yield executor, pool


@pytest.mark.slow
@pytest.mark.xdist_group("process-pools")
@pytest.mark.parametrize("kind", ["tool", "time-out", "unanswered", "session", "user"])
def test_an_error_is_raised_through_process_pools(pools: tuple[Any, Any], kind: str) -> None:
    executor, pool = pools
    with pytest.raises(ToolBridgeError) as here:
        fails_in_another_process(kind)
    with pytest.raises(ToolBridgeError) as by_executor:
        executor.submit(fails_in_another_process, kind).result(PATIENCE)
    with pytest.raises(ToolBridgeError) as by_pool:
        pool.apply_async(fails_in_another_process, (kind,)).get(PATIENCE)
    for caught in (by_executor, by_pool):
        assert _same(caught.value) == _same(here.value)
        assert "fails_in_another_process" in str(caught.value.__cause__)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ToolExecutionError("add", "KeyError", "'k'"), """ToolExecutionError('add', 'KeyError', "'k'")"""),
        (ToolTimeoutError("add", "TimeoutError", "m"), "ToolTimeoutError('add', 'TimeoutError', 'm')"),
        (
            ToolCommunicationError("add", grpc.StatusCode.UNAVAILABLE, "nobody"),
            "ToolCommunicationError('add', UNAVAILABLE, 'nobody')",
        ),
        (ValidationError("m"), "ValidationError('m')"),
        (ConflictError("m"), "ConflictError('m', error_type='RevisionConflict')"),
        (ToolBridgeError("m", error_type="Strange"), "ToolBridgeError('m', error_type='Strange')"),
        (Silent(1, 2), "Silent('(1, 2)', error_type='InternalError')"),
    ],
)
def test_the_repr_of_an_error_names_tool_type_and_message(error: ToolBridgeError, text: str) -> None:
    assert repr(error) == text


def test_an_error_without_a_message_ends_with_its_type() -> None:
    assert str(ToolExecutionError("add", "KeyError", "")) == "add: KeyError"


def test_an_error_that_was_made_without_the_base_s_init_goes_to_the_wire() -> None:
    info = error_info(Silent(1, 2), raised_by_tool=True)
    assert (info.type, info.message, dict(info.details)) == ("Silent", "(1, 2)", {"origin": "tool"})
