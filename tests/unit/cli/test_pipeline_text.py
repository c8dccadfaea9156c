"""What the command line shows of a composite tool."""

import pytest

from grpc_tool_bridge.cli.spec_text import signature_text, steps_text
from grpc_tool_bridge.cli.tool_text import show
from grpc_tool_bridge.proto.dspex_bridge_pb2 import ToolSpec, ToolType
from grpc_tool_bridge.tools.pipelines import pipeline
from grpc_tool_bridge.tools.steps import each, parallel, step

REPORT = pipeline(
    "report",
    "Reports.",
    [
        step("fetch", url="$url", as_="page"),
        parallel(step("summarize", "$page.text", 3), each("$page.links", step("fetch", ["$item", "é"]), as_="linked")),
    ],
    inputs={"url": str, "words": (int, 100)},
    metadata={"team": "docs"},
)


def test_a_composite_tool_is_shown_with_its_steps_instead_of_their_json(capsys: pytest.CaptureFixture[str]) -> None:
    show(REPORT.spec, {})
    shown = capsys.readouterr().out
    assert "report(url: str, words: int = 100) -> Any\nReports.\n" in shown
    assert (
        "composite\n"
        "step 1: fetch(url=$url) as page\n"
        "step 2: in parallel: summarize($page.text, 3); "
        'for each item of $page.links: fetch(["$item", "é"]) as linked\n'
        "metadata: team docs\n"
    ) in shown


@pytest.mark.parametrize(
    "spec",
    [
        ToolSpec(name="t"),
        ToolSpec(name="t", type=ToolType.COMPOSITE),
        ToolSpec(name="t", type=ToolType.COMPOSITE, metadata={"pipeline": "new"}),
        ToolSpec(name="t", metadata={"pipeline": '{"steps":[{"kind":"step","tool":"a"}]}'}),
    ],
)
def test_a_tool_without_a_pipeline_that_can_be_read_has_no_steps_to_show(spec: ToolSpec) -> None:
    assert steps_text(spec) == []
    assert signature_text(spec) == "t()"
    show(spec, {})
