"""Argument binding: compiled once from a tool's signature, run at every call."""

import logging
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, islice
from typing import Any

from pydantic_core import ValidationError as CheckError

from grpc_tool_bridge.errors import SerializationError, ValidationError
from grpc_tool_bridge.errors.class_facts import class_name
from grpc_tool_bridge.errors.exception_text import own_text
from grpc_tool_bridge.errors.faults import log_fault
from grpc_tool_bridge.errors.near_names import near_names
from grpc_tool_bridge.errors.throttled_log import ThrottledLog
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallItem, ToolCallRequest, ToolStreamRequest
from grpc_tool_bridge.rpc.nodes import SLOW_BYTES, check_values
from grpc_tool_bridge.tools.argument_kinds import POSITIONAL_ONLY, VAR_KEYWORD, VAR_POSITIONAL
from grpc_tool_bridge.tools.checks import Check
from grpc_tool_bridge.tools.signatures import Parameter, Signature
from grpc_tool_bridge.tools.wording import describe_problems, show
from grpc_tool_bridge.values.serialization import deserialize_value

Request = ToolCallRequest | ToolStreamRequest | ToolCallItem

# In larger requests only the first problem is looked for: each one takes some 50 µs to find.
_FIRST_ONLY_BYTES = 4 * 1024

# The key in ``details`` for surplus positional arguments, which have no name.
POSITIONAL = "*"
# Larger than any number of missing arguments.
_GIVEN_TWICE = 1_000_000
# After this many unknown names, no more "did you mean" suggestions are looked for.
_MAX_HINTS = 8
_MAX_NAME_CHARS = 64
# How many of the tool's own argument names the error for an unknown one lists.
_MAX_LISTED = 20
# After this many problems with one starred parameter, the rest are only counted.
_MAX_TOLD = 5
# After this many arguments with problems, the others are not checked.
_MAX_PROBLEMS = 100
# With more problems than this in one argument, the text covers only its first items.
_MANY = 1_000
_FIRST_ITEMS = 100
# Characters of a user's validator error that are reported.
_MAX_SAID = 200

_log = logging.getLogger(__name__)
# For log lines that a peer can cause as often as it likes.
_throttled = ThrottledLog(_log)


@dataclass(frozen=True, slots=True)
class _Slot:
    """A parameter prepared for binding. ``index`` is its position among the positional ones, or beyond any."""

    name: str
    index: int
    required: bool
    positional_only: bool
    default: Any
    make_default: Callable[[], Any] | None
    accepts: Container[type]
    validate: Callable[[Any], Any]

    @classmethod
    def of(cls, parameter: Parameter, check: Check, index: int) -> "_Slot":
        return cls(
            name=parameter.name,
            index=index,
            required=parameter.required,
            positional_only=parameter.kind is POSITIONAL_ONLY,
            default=parameter.default,
            make_default=parameter.make_default,
            accepts=check.accepts,
            validate=check.validator.validate_python,
        )

    def given_default(self) -> Any:
        """Returns what the function gets if no argument is given."""
        return self.default if self.make_default is None else self.make_default()


@dataclass(slots=True)
class _Call:
    """The arguments of one call being bound, and the problems found, by name."""

    bound: dict[str, Any] = field(default_factory=dict)
    extra_args: list[Any] = field(default_factory=list)
    extra_kwargs: dict[str, Any] = field(default_factory=dict)
    problems: dict[str, list[str]] = field(default_factory=dict)

    def report(self, name: str, problem: str) -> None:
        told = self.problems.setdefault(name, [])
        if len(told) < _MAX_TOLD:
            told.append(problem)
        elif len(told) == _MAX_TOLD:
            told.append("and more")


class Binder:
    """Binds arguments to a signature, checks them and converts them.

    A positional-only parameter may also be given by name: a caller in another language has only the schema, which
    names every argument.

    Args:
        tool_name: The tool's name, for errors.
        signature: What to bind to.
        checks: A check for each parameter of the signature, by name.

    Attributes:
        required: The number of required arguments still missing when none, one, two … are given by position.
    """

    def __init__(self, tool_name: str, signature: Signature, checks: Mapping[str, Check]) -> None:
        self._tool_name = tool_name
        self._signature, self._checks = signature, checks
        self._first_only: Binder | None = None
        self._aliases = signature.aliases
        self._own = {signature.context, *signature.dependencies}
        positional = [item for item in signature.parameters if item.positional]
        places = {item.name: place for place, item in enumerate(positional)}
        slots = {
            item.name: _Slot.of(item, checks[item.name], places.get(item.name, sys.maxsize))
            for item in signature.parameters
        }
        self._positional = tuple(slots[item.name] for item in positional)
        self._by_name = {item.name: slots[item.name] for item in signature.parameters if not item.variadic}
        starred = {item.kind: slots[item.name] for item in signature.parameters if item.variadic}
        self._var_args, self._var_kwargs = starred.get(VAR_POSITIONAL), starred.get(VAR_KEYWORD)
        # What the bridge fills in is given by name, so that nothing after it can go by position.
        self._keep = len(positional) if signature.own_index is None else signature.own_index
        self._keywords = {name: slot for name, slot in self._by_name.items() if not slot.positional_only}
        self._accepts = tuple(slot.accepts for slot in self._positional)
        self._validate = tuple(slot.validate for slot in self._positional)
        by_name_only = sum(slot.required for slot in self._by_name.values() if slot.index == sys.maxsize)
        left = accumulate((slot.required for slot in reversed(self._positional)), initial=by_name_only)
        self.required = tuple(left)[::-1]
        self._filled = tuple(slot for slot in self._by_name.values() if slot.make_default is not None)
        if not self._filled:
            self.try_bind = self._bind_valid  # type: ignore[method-assign]
        else:
            self._bind_given = self.bind
            # Set only if there is something to fill in, so that no other tool's calls pay for it.
            self.bind = self._bind_filled  # type: ignore[method-assign]

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Binds the arguments of one call.

        Args:
            args: Arguments by position.
            kwargs: Arguments by name.

        Returns:
            Arguments for the function, checked and converted. They include defaults set in annotations, but not the
            function's own.

        Raises:
            ValidationError: Arguments are not valid; ``details`` has a text for each of them.
        """
        # Optimistic: only a call with a problem is gone through in full.
        return self._bind_valid(args, kwargs) or self._bind_checked(args, kwargs)

    def try_bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]] | None:
        """Binds the arguments of one call like ``bind``, or returns None; then ``bind`` may say what is wrong."""
        return None if self._filled else self._bind_valid(args, kwargs)

    def _bind_valid(
        self, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> tuple[Sequence[Any], dict[str, Any]] | None:
        """Binds valid arguments, if the function has the defaults of all others; returns None for any other."""
        # There may be fewer arguments than parameters; strict=False would cost a tenth of the call.
        given = len(args)
        if given <= self._keep:
            try:
                taken = [
                    value if type(value) in accepts else validate(value)
                    for value, accepts, validate in zip(args, self._accepts, self._validate)  # noqa: B905 - see above
                ]
                missing = self.required[given]
                named: dict[str, Any] = {}
                for name, value in kwargs.items():
                    slot = self._keywords[name]
                    named[name] = value if type(value) in slot.accepts else slot.validate(value)
                    missing -= slot.required if slot.index >= given else _GIVEN_TWICE
                if not missing:
                    return taken, named
            # An unknown name, a value that does not fit, or anything that a user's validators raise.
            except BaseException:  # noqa: BLE001
                return None
        return None

    def bind_request(
        self, request: Request, size: int, max_depth: int, max_nodes: int | None
    ) -> tuple[Sequence[Any], dict[str, Any]]:
        """Decodes the arguments of a request and binds them.

        Args:
            request: The call.
            size: Its bytes.
            max_depth: Levels of nested containers in one argument.
            max_nodes: Elements, keys, texts and numbers of all of them; None for any.

        Raises:
            SerializationError: An argument cannot be decoded; the text names it.
            MessageTooLargeError: They have too many nodes.
            ValidationError: As of ``bind``.
        """
        if size > SLOW_BYTES and max_nodes is not None:
            values = [(item.type_url, item.value) for item in (*request.args, *request.kwargs.values())]
            check_values(values, f"the call of {self._tool_name}", max_nodes)
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        which = ""
        try:
            for message in list(request.args):
                args.append(deserialize_value(message, max_depth=max_depth))  # noqa: PERF401 - its length names what fails
            # Asking an empty map for its items costs five times as much as asking whether it is empty.
            if request.kwargs:
                for which, message in request.kwargs.items():
                    kwargs[which] = deserialize_value(message, max_depth=max_depth)
        except SerializationError as error:
            named = repr(which) if which else len(args)
            text = f"{self._tool_name}: argument {named}: {error.message}"
            raise SerializationError(text, details=error.details) from None
        return self.bind(args, kwargs) if size <= _FIRST_ONLY_BYTES else self.bind_first(args, kwargs)

    def renamed(self, tool_name: str) -> "Binder":
        """Returns the same for a tool of another name."""
        return Binder(tool_name, self._signature, self._checks)

    def bind_first(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Like ``bind``, but reports only the first problem in a list or a dict."""
        if self._first_only is None:
            checks = {name: check.first_only() for name, check in self._checks.items()}
            self._first_only = Binder(self._tool_name, self._signature, checks)
        return self._first_only.bind(args, kwargs)

    def _bind_filled(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        """Binds the arguments of one call, and adds the defaults that the function does not have itself."""
        taken, named = self._bind_given(args, kwargs)
        ready = list(taken)
        for slot in self._filled:
            if slot.index < len(ready) or slot.name in named:
                continue
            if slot.positional_only:
                ready.extend(self._default_of(before) for before in self._positional[len(ready) : slot.index + 1])
            else:
                named[slot.name] = self._default_of(slot)
        return ready, named

    def _default_of(self, slot: _Slot) -> Any:
        try:
            return slot.given_default()
        except BaseException as error:
            text = "%s: the default of argument %r cannot be made"
            if _throttled.admits(text):
                log_fault(_log, text, self._tool_name, slot.name, error=error, level=logging.WARNING)
            problem = f"missing, and its default cannot be made ({_raised(error)})"
            raise self._error({slot.name: [problem]}) from error

    def _bind_checked(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Sequence[Any], dict[str, Any]]:
        call = _Call()
        self._take_positional(call, args)
        for name, value in kwargs.items():
            if len(call.problems) >= _MAX_PROBLEMS:
                raise self._error(call.problems)
            slot = self._by_name.get(name)
            if slot is None and name in self._aliases:
                self._take_alias(call, name, value, kwargs)
            elif slot is None:
                self._take_other(call, name, value, given=len(args))
            elif slot.index >= len(args):
                call.bound[name] = _checked(call, slot, name, value)
            elif slot.positional_only and self._var_kwargs is not None:
                call.extra_kwargs[name] = _checked(call, self._var_kwargs, name, value)
            else:
                call.report(name, "given twice, by position and by name")
        for name, slot in self._by_name.items():
            if slot.required and name not in call.bound:
                call.report(name, "missing")
        if call.problems:
            raise self._error(call.problems)
        return self._arranged(call, given=len(args))

    def _take_positional(self, call: _Call, args: Sequence[Any]) -> None:
        for slot, value in zip(self._positional, args, strict=False):
            call.bound[slot.name] = _checked(call, slot, slot.name, value)
        limit = len(self._positional)
        if len(args) > limit:
            if self._var_args is None:
                call.report(POSITIONAL, f"takes at most {limit} arguments by position, got {len(args)}")
            else:
                self._take_starred(call, self._var_args, args[limit:])

    def _take_starred(self, call: _Call, slot: _Slot, values: Sequence[Any]) -> None:
        for place, value in enumerate(values):
            call.extra_args.append(_checked(call, slot, slot.name, value, f"[{place}]"))

    def _take_alias(self, call: _Call, name: str, value: Any, kwargs: Mapping[str, Any]) -> None:
        """Takes an argument by another name of its parameter."""
        slot = self._by_name[self._aliases[name]]
        if slot.name in call.bound or slot.name in kwargs:
            call.report(name, f"given twice, as '{slot.name}' and as '{name}'")
        else:
            call.bound[slot.name] = _checked(call, slot, name, value)

    def _take_other(self, call: _Call, name: str, value: Any, *, given: int) -> None:
        """Takes an argument whose name is not that of an ordinary parameter."""
        if name in self._own:
            call.report(name, "is filled in by the bridge; omit it")
        elif self._var_kwargs is not None:
            call.extra_kwargs[name] = _checked(call, self._var_kwargs, name, value)
        elif self._var_args is None or name != self._var_args.name:
            call.report(name, f"unknown{self._hint(call, name)}")
        elif given > len(self._positional):
            call.report(name, "given twice, by position and by name")
        elif isinstance(value, list | tuple):
            self._take_starred(call, self._var_args, value)
        else:
            call.report(name, f"should be a valid list, got {show(value)}")

    def _hint(self, call: _Call, name: str) -> str:
        if len(call.problems) >= _MAX_HINTS:
            return ""
        close = near_names(name, self._by_name, n=1)
        if close:
            return f", did you mean '{close[0]}'?"
        known = ", ".join(f"'{item}'" for item in islice(self._by_name, _MAX_LISTED))
        if len(self._by_name) > _MAX_LISTED:
            known += f" and {len(self._by_name) - _MAX_LISTED} more"
        return f", the tool takes {known}" if known else ", the tool takes no arguments"

    def _arranged(self, call: _Call, *, given: int) -> tuple[Sequence[Any], dict[str, Any]]:
        """Arranges the arguments for Python: by position only if they came by position or must be given so."""
        lead = len(self._positional) if call.extra_args else min(given, self._keep)
        for slot in self._positional:
            if slot.positional_only and slot.name in call.bound:
                lead = max(lead, slot.index + 1)
        args = [self._taken(call, slot) for slot in self._positional[:lead]]
        return [*args, *call.extra_args], {**call.bound, **call.extra_kwargs}

    @staticmethod
    def _taken(call: _Call, slot: _Slot) -> Any:
        return call.bound.pop(slot.name) if slot.name in call.bound else slot.given_default()

    def _error(self, problems: Mapping[str, list[str]]) -> ValidationError:
        known = [name for name in self._by_name if name in problems]
        others = [name for name in problems if name not in self._by_name]
        details = {name: "; ".join(problems[name]) for name in [*known, *others]}
        texts = [
            problem if name == POSITIONAL else f"argument {name[:_MAX_NAME_CHARS]!r}: {problem}"
            for name, problem in details.items()
        ]
        return ValidationError(f"{self._tool_name}: {'; '.join(texts)}", details=details)


def _checked(call: _Call, slot: _Slot, name: str, value: Any, prefix: str = "") -> Any:
    if type(value) in slot.accepts:
        return value
    try:
        return slot.validate(value)
    except CheckError as error:
        call.report(name, _describe(error, slot, value, prefix))
    # Validators and __post_init__ are user code; what they raise says what is wrong with the value.
    except BaseException as error:  # noqa: BLE001
        if _throttled.admits("a validator failed"):
            log_fault(_log, "argument %r: a validator failed", name, error=error, level=logging.WARNING)
        call.report(name, f"{prefix} cannot be read ({_raised(error)}), got {show(value)}".lstrip())
    return None


def _raised(error: BaseException) -> str:
    return f"{class_name(type(error))}: {own_text(error)[:_MAX_SAID]}"


def _describe(error: CheckError, slot: _Slot, value: Any, prefix: str) -> str:
    """Describes what is wrong with a value; if it has very many problems, with its first items."""
    count = error.error_count()
    if count <= _MANY:
        return describe_problems(error, prefix)
    try:
        if isinstance(value, Mapping):
            slot.validate(dict(islice(value.items(), _FIRST_ITEMS)))
        elif isinstance(value, Sequence):
            slot.validate(value[:_FIRST_ITEMS])
    except BaseException as first:  # noqa: BLE001 - see _checked
        if isinstance(first, CheckError) and first.error_count() <= _MANY:
            return f"{describe_problems(first, prefix)} of {count:,}"
    return f"{prefix} has {count:,} problems".lstrip()
