"""Composite tools: what a pipeline tells of itself, and how its steps run."""

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Annotated, Any, cast

import pytest
from pydantic import Field

from grpc_tool_bridge.errors import SerializationError, ToolExecutionError, ValidationError
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ArgumentSpec, Progress, ToolSpec, ToolType
from grpc_tool_bridge.tools.context import ToolContext, ToolRuntime
from grpc_tool_bridge.tools.pipelines import PIPELINE_KEY, pipeline, pipeline_of
from grpc_tool_bridge.tools.steps import each, parallel, step
from grpc_tool_bridge.tools.tool import Tool
from grpc_tool_bridge.values.serialization import serialize_value
from support.patience import PATIENCE


class Steps:
    """Stands for the hub: answers calls of tools by functions, and remembers them."""

    def __init__(self, **tools: Any) -> None:
        self.tools = tools
        self.called: list[Any] = []
        self.events: list[Any] = []

    async def call_tool(self, tool_id: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        self.called.append((tool_id, args, dict(kwargs)))
        result = self.tools[tool_id](*args, **kwargs)
        return await result if asyncio.iscoroutine(result) else result

    async def call(self, tool: Tool, *args: Any, **kwargs: Any) -> Any:
        bound, named = tool.bind(args, kwargs)
        assert tool.context_parameter is not None
        named[tool.context_parameter] = ToolContext(
            session_id="s",
            tool_name=tool.spec.name,
            request_id="",
            metadata={},
            deadline=time.monotonic() + 60,
            loop=asyncio.get_running_loop(),
            runtime=cast("ToolRuntime", self),
            emit=self.events.append,
        )
        async with asyncio.timeout(PATIENCE):
            return await tool(*bound, **named)


def two(**options: Any) -> Tool:
    return pipeline("two", "Two steps.", [step("a", "$x", as_="one"), step("b", "$last")], **options)


def spec_of(text: str, **fields: Any) -> ToolSpec:
    return ToolSpec(name="p", type=ToolType.COMPOSITE, metadata={PIPELINE_KEY: text}, **fields)


ONE_STEP = '{"steps":[{"kind":"step","tool":"a","args":["$x"]}]}'


# --------------------------------------------------------------------------------------------- what it tells


def test_its_spec_is_that_of_a_tool_and_says_that_it_is_composite() -> None:
    made = two(inputs={"x": int, "y": (str, "z")}, version="2", limits={"timeout_ms": 5}, metadata={"team": "docs"})
    spec = made.spec
    assert (spec.name, spec.tool_id, spec.description, spec.version) == ("two", "two", "Two steps.", "2")
    assert spec.type == ToolType.COMPOSITE
    assert [(item.name, item.python_type, item.required) for item in spec.arguments] == [
        ("x", "int", True),
        ("y", "str", False),
    ]
    assert json.loads(spec.input_schema)["required"] == ["x"]
    assert spec.limits.timeout_ms == 5
    assert spec.metadata["team"] == "docs"
    assert json.loads(spec.metadata[PIPELINE_KEY])["steps"][1] == {"kind": "step", "tool": "b", "args": ["$last"]}
    assert not spec.idempotent
    assert two(inputs={"x": int}, idempotent=True).spec.idempotent
    assert (made.is_async, made.is_stream, made.__name__, made.__doc__) == (True, False, "two", "Two steps.")


def test_an_input_is_annotated_as_an_argument_is() -> None:
    described = Annotated[int, Field(gt=0, description="How many.")]
    made = two(inputs={"x": described})
    assert made.spec.arguments[0].description == "How many."
    assert made.bind((), {"x": 1}) == ([], {"x": 1})
    with pytest.raises(ValidationError, match="two: argument 'x': should be greater than 0"):
        made.bind((0,), {})


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({}, ValueError, r"two: step 1 \(a\): '\$x' is not defined here; defined names: nothing"),
        ({"inputs": {"x": int}, "result": "$z"}, ValueError, r"two: the result: '\$z' is not defined"),
        ({"inputs": {"x": int, "last": int}}, ValueError, "two: input 'last': the name 'last' is reserved"),
        ({"inputs": {"x": (int, 1), "y": int}}, ValueError, "non-default argument follows default argument"),
        (
            {"inputs": {"x": int}, "metadata": {"pipeline": ""}},
            ValueError,
            "two: metadata.'pipeline'. has the pipeline",
        ),
        ({"inputs": {"x": int}, "limits": {"speed": 1}}, ValueError, "two: 'speed' is not a limit"),
    ],
)
def test_a_pipeline_that_cannot_be_is_refused_where_it_is_declared(
    options: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        two(**options)


def test_what_is_no_step_is_refused_with_the_pipeline_s_name() -> None:
    with pytest.raises(TypeError, match="p: step 1: 'fetch' is not a step"):
        pipeline("p", "", ["fetch"])  # type: ignore[list-item]  # that is the point


async def test_a_list_that_its_owner_changes_afterwards_changes_nothing() -> None:
    words = ["$x"]
    made = pipeline("p", "", [step("a", words)], inputs={"x": int})
    words.append("more")
    steps = Steps(a=lambda items: items)
    assert await steps.call(made, 1) == [1]


# ---------------------------------------------------------------------------------------------- how it runs


async def test_steps_run_in_order_each_with_what_came_before() -> None:
    steps = Steps(a=lambda x: {"text": x, "n": [7]}, b=lambda text, *, n, more: f"{text}{n}{more}")
    made = pipeline(
        "p",
        "",
        [step("a", "$x", as_="page"), step("b", "$page.text", n="$last.n.0", more="$word")],
        inputs={"x": str, "word": (str, "!")},
    )
    assert await steps.call(made, "t") == "t7!"
    assert steps.called == [("a", ("t",), {}), ("b", ("t",), {"n": 7, "more": "!"})]
    assert await steps.call(made, x="t", word="?") == "t7?"


async def test_a_result_is_put_together_from_inputs_and_results() -> None:
    steps = Steps(a=lambda x: x + 1, b=lambda x: x * 10)
    made = two(inputs={"x": int}, result={"in": "$x", "out": ["$one", "$last"]})
    assert await steps.call(made, 1) == {"in": 1, "out": [2, 20]}


async def test_parallel_steps_run_at_once_and_give_the_list_of_their_results() -> None:
    both = asyncio.Barrier(2)

    async def meet(x: int) -> int:
        await both.wait()
        return x * 2

    steps = Steps(a=meet, c=lambda *args: args)
    made = pipeline("p", "", [parallel(step("a", 1, as_="one"), step("a", 2)), step("c", "$one", "$last")], inputs={})
    assert await steps.call(made) == (2, [2, 4])


async def test_each_keeps_the_order_and_works_on_so_many_items_at_once() -> None:
    running = most = 0
    last = asyncio.Event()

    async def work(x: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if x == 0:
            await last.wait()
        elif x == 6:
            last.set()
        else:
            await asyncio.sleep(0)
        running -= 1
        return x * x

    made = pipeline(
        "p", "", [each("$xs", step("a", "$item"), as_="s", max_concurrency=3)], inputs={"xs": list}, result=["$s"]
    )
    assert await Steps(a=work).call(made, list(range(7))) == [[0, 1, 4, 9, 16, 25, 36]]
    assert most == 3
    assert await Steps(a=work).call(made, []) == [[]]


async def test_progress_tells_which_tools_run() -> None:
    steps = Steps(a=lambda *_: [1], b=lambda *_: 2)
    made = pipeline("p", "", [step("a"), parallel(step("b"), each("$last", step("b")))])
    await steps.call(made)
    assert [(event.current, event.total, event.message) for event in steps.events if isinstance(event, Progress)] == [
        (0, 2, "a"),
        (1, 2, "b, b"),
    ]


# ------------------------------------------------------------------------------------------------ how it fails


def refuse(*_: Any) -> None:
    raise ToolExecutionError(
        "b", "LookupError", "nothing there", {"origin": "tool", "tool": "own"}, remote_traceback="T"
    )


async def test_the_error_of_a_step_is_its_tool_s_own_and_says_which_step_it_was() -> None:
    with pytest.raises(ToolExecutionError) as caught:
        await Steps(a=lambda x: x, b=refuse).call(two(inputs={"x": int}), 1)
    error = caught.value
    assert (error.error_type, error.message, error.remote_traceback) == ("LookupError", "nothing there", "T")
    assert list(error.details.items()) == [("step", "2"), ("tool", "b"), ("origin", "tool")]


@pytest.mark.parametrize(
    ("part", "label"),
    [
        (parallel(step("a"), step("b")), "1.2"),
        (each(["x", "y"], step("b", "$item"), max_concurrency=1), "1[0]"),
        (parallel(each(["x"], step("b"))), "1.1[0]"),
    ],
)
async def test_the_label_of_a_step_leads_into_parallel_and_each(part: Any, label: str) -> None:
    with pytest.raises(ToolExecutionError) as caught:
        await Steps(a=lambda: 1, b=refuse).call(pipeline("p", "", [part]))
    assert caught.value.details["step"] == label


async def test_the_label_of_a_pipeline_within_a_pipeline_has_both() -> None:
    steps = Steps(a=lambda x: x, b=refuse)
    steps.tools["inner"] = lambda x: steps.call(two(inputs={"x": int}), x)
    with pytest.raises(ToolExecutionError) as caught:
        await steps.call(pipeline("outer", "", [step("a", 0), step("a", 0), step("inner", 1)]))
    assert (caught.value.details["step"], caught.value.details["tool"]) == ("3/2", "b")


async def test_the_first_failure_ends_the_others_and_is_the_error() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        started.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    async def fail() -> None:
        await started.wait()
        refuse()

    with pytest.raises(ToolExecutionError, match="nothing there"):
        await Steps(a=hang, b=fail).call(pipeline("p", "", [parallel(step("a"), step("b"))]))
    assert ended.is_set()


async def test_arguments_that_cannot_travel_are_told_with_their_step() -> None:
    def unfit(_: Any) -> None:
        raise SerializationError("no")

    with pytest.raises(SerializationError) as caught:
        await Steps(a=unfit).call(two(inputs={"x": int}), 1)
    assert caught.value.details == {"step": "1", "tool": "a"}


@pytest.mark.parametrize(
    ("options", "text", "details"),
    [
        (
            {"steps": [step("a"), step("b", "$last.titel")]},
            r"p: step 2 \(b\): '\$last\.titel': \$last has no 'titel'; it is a dict with 'title'",
            {"step": "2", "tool": "b"},
        ),
        (
            {"steps": [step("a"), each("$last", step("b"))]},
            r"p: step 2 \(b\): '\$last' is a dict, not a list",
            {"step": "2", "tool": "b"},
        ),
        (
            {"steps": [step("a")], "result": {"t": "$last.titel"}},
            r"p: the result: '\$last\.titel': \$last has no 'titel'",
            {"step": "result", "tool": "p"},
        ),
    ],
)
async def test_a_value_without_the_part_that_a_step_wants_is_told(options: Any, text: str, details: Any) -> None:
    with pytest.raises(ValidationError, match=text) as caught:
        await Steps(a=lambda: {"title": 1}).call(pipeline("p", "", **options))
    assert caught.value.details == details


# ------------------------------------------------------------------------------------------- from its spec


async def test_a_spec_alone_makes_the_same_tool_again() -> None:
    first = two(inputs={"x": int, "y": (str, "z")}, idempotent=True, result=["$one", "$y"])
    again = pipeline_of(first.spec)
    assert again.spec == first.spec
    assert again.spec is not first.spec
    assert await Steps(a=lambda x: x, b=lambda x: x).call(again, 3) == [3, "z"]
    with pytest.raises(ValidationError, match="two: argument 'x': should be a valid integer"):
        again.bind(("3",), {})


async def test_a_peer_s_spec_keeps_what_it_says_and_its_arguments_are_checked_by_name_and_type() -> None:
    arguments = [
        ArgumentSpec(name="x", elixir_type="integer()", required=True, description="The x."),
        ArgumentSpec(name="n", python_type="int", default_value=serialize_value(4)),
        ArgumentSpec(name="other", python_type="Whatever"),
    ]
    spec = spec_of(ONE_STEP, description="D", arguments=arguments, tool_id="p.1", input_schema='{"title": "mine"}')
    made = pipeline_of(spec)
    assert made.spec == spec
    assert await Steps(a=lambda x: x).call(made, {"any": "thing"}) == {"any": "thing"}
    with pytest.raises(ValidationError) as caught:
        made.bind((), {"n": "4", "z": 1})
    assert caught.value.details == {
        "x": "missing",
        "n": "should be a valid integer, got '4' (str)",
        "z": "unknown, the tool takes 'x', 'n', 'other'",
    }


async def test_a_peer_that_gives_no_arguments_may_give_their_schema() -> None:
    schema = {
        "properties": {"n": {"type": "integer", "default": 4}, "x": {"type": ["string", "null"]}, "free": True},
        "required": ["x"],
    }
    text = '{"steps":[{"kind":"step","tool":"a","args":["$x","$n","$free"]}]}'
    made = pipeline_of(spec_of(text, input_schema=json.dumps(schema)))
    assert [item.name for item in made.spec.arguments] == ["x", "n", "free"]
    assert json.loads(made.spec.input_schema) == schema
    assert made.spec.tool_id == "p"
    assert await Steps(a=lambda *args: args).call(made, x=None) == (None, 4, None)
    with pytest.raises(ValidationError, match="argument 'n': should be a valid integer"):
        made.bind((), {"x": "", "n": 1.5})


def test_a_spec_with_neither_has_no_inputs() -> None:
    made = pipeline_of(spec_of('{"steps":[{"kind":"step","tool":"a"}]}'))
    assert json.loads(made.spec.input_schema) == {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (spec_of("{"), "tool 'p': its metadata has no valid pipeline: Input data was truncated"),
        (spec_of(ONE_STEP), r"has no valid pipeline: step 1 \(a\): '\$x' is not defined here; defined names: nothing$"),
        (spec_of(ONE_STEP, arguments=[ArgumentSpec(name="page-size")]), "'page-size' is not a valid parameter name"),
        (spec_of(ONE_STEP, arguments=[ArgumentSpec(name="x"), ArgumentSpec(name="x")]), "there is already a 'x'"),
        (spec_of(ONE_STEP, input_schema="[]"), "Expected `object`, got `array`"),
        (spec_of(ONE_STEP, input_schema='{"properties":{"x":' + "[" * 20_000), "maximum recursion depth|was truncated"),
        (ToolSpec(name="p"), "tool 'p': its metadata has no valid pipeline"),
    ],
)
def test_a_spec_whose_pipeline_cannot_be_run_is_refused(spec: ToolSpec, text: str) -> None:
    with pytest.raises(ValidationError, match=text):
        pipeline_of(spec)


@pytest.mark.parametrize("listed", [True, False], ids=["arguments", "input_schema"])
def test_a_peers_pipeline_of_very_many_inputs_is_refused(listed: bool) -> None:
    spec = ToolSpec(name="far", metadata={PIPELINE_KEY: '{"steps": [{"kind": "step", "tool": "t"}]}'})
    if listed:
        spec.arguments.extend(ArgumentSpec(name=f"a{number}") for number in range(65))
    else:
        spec.input_schema = json.dumps({"properties": {f"a{number}": {} for number in range(65)}})
    with pytest.raises(ValidationError, match="it has 65 inputs, the limit is 64; take some as one dict"):
        pipeline_of(spec)


@pytest.mark.parametrize("tool", ["x" * 50_000, "$" + "x" * 50_000])
def test_what_is_wrong_with_a_peers_pipeline_is_told_in_few_words(tool: str) -> None:
    text = json.dumps({"steps": [{"kind": "step", "tool": tool}]})
    with pytest.raises(ValidationError) as caught:
        pipeline_of(ToolSpec(name="far", metadata={PIPELINE_KEY: text}))
    assert len(caught.value.message) < 700
