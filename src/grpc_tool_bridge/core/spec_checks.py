"""Checks the arguments of a call against a tool's spec, as far as that needs no type of the tool's own language."""

from grpc_tool_bridge.errors import ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolCallItem, ToolCallRequest, ToolSpec, ToolStreamRequest

# More arguments than anybody gives.
_ANY_NUMBER = 2**31


class SpecCheck:
    """Checks which arguments a call has: their names and their number. What they are is for whoever runs the tool.

    Args:
        spec: The tool's spec; one without arguments but with an input schema tells nothing here.
    """

    __slots__ = ("_least", "_most", "_name", "_names", "_required", "_rest", "_says_nothing")

    def __init__(self, spec: ToolSpec) -> None:
        self._name = spec.name
        self._says_nothing = not spec.arguments and bool(spec.input_schema)
        kinds = [(item, set(item.validation.custom_rules)) for item in spec.arguments]
        variadic = [rules for _, rules in kinds if rules & {"var-positional", "var-keyword"}]
        fixed = [(item, rules) for item, rules in kinds if rules not in variadic]
        positional = [item.name for item, rules in fixed if "keyword-only" not in rules]
        self._names = {item.name: place for place, (item, _) in enumerate(fixed)}
        self._required = [item.name for item, _ in fixed if item.required]
        self._most = _ANY_NUMBER if any("var-positional" in rules for rules in variadic) else len(positional)
        self._rest = any("var-keyword" in rules for rules in variadic)
        # With so many by position and none by name there is nothing to look at.
        self._least = max((place + 1 for place, (item, _) in enumerate(fixed) if item.required), default=0)

    def __call__(self, request: ToolCallRequest | ToolStreamRequest | ToolCallItem) -> None:
        """Checks a call.

        Raises:
            ValidationError: An argument is missing, unknown or given twice; ``details`` has a text for each.
        """
        given = len(request.args)
        if not request.kwargs and self._least <= given <= self._most:
            return
        self._check_all(given, set(request.kwargs))

    def _check_all(self, given: int, names: set[str]) -> None:
        if self._says_nothing:
            return
        problems: dict[str, str] = {}
        if given > self._most:
            problems["*"] = f"{given} arguments were given by position, at most {self._most} may be"
        by_position = {name for name, place in self._names.items() if place < given}
        for name in sorted(names & by_position):
            problems[name] = "given both by position and by name"
        if not self._rest:
            for name in sorted(names - self._names.keys())[:8]:
                problems[name[:64]] = "there is no argument of this name"
        for name in self._required:
            if name not in names and name not in by_position:
                problems[name] = "missing"
        if problems:
            told = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
            raise ValidationError(f"{self._name}: {told}", details=problems)
