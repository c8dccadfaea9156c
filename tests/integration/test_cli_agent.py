"""``agent``, and the runtimes of ``serve --agents`` and ``worker --agents``: real processes, and a scripted model."""

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from grpc_tool_bridge import GRPCToolBridge
from grpc_tool_bridge.cli import main
from grpc_tool_bridge.testing import ModelServer
from grpc_tool_bridge.testing.model_script import Answer, Held, Prompt, arithmetic, step
from integration.test_cli import PATIENCE, TOOLS, Cli, popen, read_line, runner, serving

ENVIRONMENT = {**os.environ, "OPENAI_API_KEY": "k3y-of-the-test"}
SIGNATURE = "Question -> Answer"


class Model:
    """A model that does sums, and waits, echoes or goes on as it is told to."""

    def __init__(self) -> None:
        self.held = Held()
        self.next_answers: list[Answer] = []

    def answer(self, prompt: Prompt) -> Answer:
        if "as I am told" in prompt.user:
            return self.next_answers.pop(0)
        if "be patient" in prompt.user:
            return self.held
        if "be loud" in prompt.user and "next_tool_name" in prompt.system:
            said = "observation_0" in prompt.user
            return step("\x1b[31mred", "finish") if said else step("Echo.", "echo", text="x" * 3_000)
        if "go on" in prompt.user and "next_tool_name" in prompt.system:
            return step("On.", "echo", text="on")
        return arithmetic(prompt)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model()


@pytest.fixture(scope="module")
def served(model: Model) -> Iterator[ModelServer]:
    with ModelServer(model.answer) as served:
        yield served


@pytest.fixture(scope="module")
def hub(served: ModelServer) -> Iterator[dict[str, Any]]:
    words = ["--tools", TOOLS, "--agents", "--model", "openai/scripted", "--api-base", served.url]
    with serving(*words, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as (announced, _):
        yield announced


@pytest.fixture
def cli(hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", hub["address"])
    return runner(capsys)


def test_a_run_is_printed_as_it_happens_for_people(cli: Cli, hub: dict[str, Any]) -> None:
    assert hub["agents"] is True
    lines = cli("agent", SIGNATURE, "--question", "What is 2+2?").splitlines()
    assert [line.split()[:2] for line in lines[:3]] == [["1", "thought"], ["1", "action"], ["1", "observed"]]
    assert lines[-1].split() == ["answer", "Answer:", "4"]


def test_a_run_is_a_line_of_json_for_each_chunk_for_programs(cli: Cli) -> None:
    chunks = [json.loads(line) for line in cli("agent", SIGNATURE, "--json", "--question=What is 2+2?").splitlines()]
    assert [chunk["sequence"] for chunk in chunks] == list(range(len(chunks)))
    assert (chunks[-1]["type"], chunks[-1]["final_answer"]) == ("result", {"Answer": "4"})


def test_an_input_may_have_the_name_of_an_option(cli: Cli) -> None:
    assert "answer" in cli("agent", "model -> Answer", "--input", "model=What is 2+2?")


def test_a_long_observation_is_cut_and_what_a_terminal_would_obey_is_shown(cli: Cli) -> None:
    said = cli("agent", SIGNATURE, "--question", "be loud")
    assert "(1,000 more characters; --json gives all)" in said
    assert "x" * 2_001 not in said.split("observed")[1].split("\n")[0]
    assert "\\x1b[31mred" in said
    assert "\x1b" not in said
    chunks = [json.loads(line) for line in cli("agent", SIGNATURE, "--json", "--question", "be loud").splitlines()]
    assert len(chunks[2]["output"]) == 3_000


def test_tools_and_model_are_those_that_are_named(cli: Cli, served: ModelServer) -> None:
    cli("agent", SIGNATURE, "--question", "What is 2+2?", "--tool", "add", "--model", "openai/other")
    prompt = served.prompts[-2]
    assert prompt.body["model"] == "other"
    assert "Adds two numbers." in prompt.system
    assert "echo" not in prompt.system


TAGGED = """
from grpc_tool_bridge import tool

@tool(tags=["math"])
async def add(a: int, b: int) -> int:
    '''Adds two numbers.'''
    return a + b

@tool(tags=["words"])
async def say(text: str) -> str:
    '''Says a text.'''
    return text
"""


def test_tools_are_chosen_by_their_tags(
    served: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tagged.py").write_text(TAGGED)
    words = ["--tools", str(tmp_path / "tagged.py"), "--agents", "--model", "openai/scripted", "--api-base", served.url]
    with serving(*words, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as (announced, _):
        monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", announced["address"])
        cli = runner(capsys)
        cli("agent", SIGNATURE, "--question", "What is 2+2?", "--tag", "math")
        system = served.prompts[-2].system
        assert "Adds two numbers." in system
        assert "Says a text." not in system
        assert "--tag: a tag is 1 to 64 letters" in cli("agent", SIGNATURE, "--question", "x", "--tag", "a b", code=2)


def test_what_follows_two_dashes_is_no_option(cli: Cli) -> None:
    assert "answer" in cli("agent", "--question", "What is 2+2?", "--", SIGNATURE)


def test_the_value_of_an_option_may_look_like_one(cli: Cli) -> None:
    assert "'--odd' is not a model name" in cli("agent", SIGNATURE, "--question", "x", "--model", "--odd", code=1)


def test_a_run_out_of_steps_says_so_and_is_exit_1(cli: Cli, served: ModelServer) -> None:
    before = len(served.prompts)
    assert "it used all its steps" in cli("agent", SIGNATURE, "--question", "go on", "--max-iters", "2", code=1)
    assert len(served.prompts) == before + 3


def test_a_field_with_an_underscore_may_be_written_with_a_hyphen(cli: Cli) -> None:
    assert "4" in cli("agent", "my_question -> Answer", "--my-question", "What is 2+2?")


def test_an_answer_that_is_not_there_is_not_printed(hub: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--question", "be patient", "--timeout", "0.5", "--address", hub["address"]]
    assert main(["agent", SIGNATURE, *words]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "it ran out of time" in printed.err


def test_doctor_says_whether_agents_can_be_run(hub: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--address", hub["address"]]) == 0
    assert re.search("agents +they can be run", capsys.readouterr().out)


def test_a_worker_without_tools_is_announced_as_what_it_is(hub: dict[str, Any], served: ModelServer) -> None:
    words = ["--agents", "--model", "openai/scripted", "--api-base", served.url, "--worker-id", "thinker"]
    worker = popen("worker", *words, "--address", hub["address"], env=ENVIRONMENT)
    try:
        assert read_line(worker) == f"The hub at {hub['address']} has worker thinker\n"
        assert read_line(worker) == f"Agents run here, with openai/scripted at {served.url}\n"
    finally:
        worker.kill()
        worker.communicate()


def test_what_the_signature_lacks_is_one_line_and_exit_1(cli: Cli) -> None:
    assert "limit" in cli("agent", SIGNATURE, "--question", "What is 2+2?", "--limit", "3", code=1)


def test_a_tool_that_is_not_there_is_named(cli: Cli) -> None:
    assert "'ad'; did you mean add" in cli("agent", SIGNATURE, "--question", "x", "--tool", "ad", code=1)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--question"], "--question needs a value"),
        (["--input", "question"], "write --input name=value"),
        (["--input", "=a"], "write --input name=value"),
        (["--question", "a", "--input", "question=b"], "input question is given twice"),
        (["--question", "a", "--timeout", "0"], "--timeout: agent: the timeout is 0.0 s"),
    ],
)
def test_an_input_that_cannot_be_is_exit_2(cli: Cli, words: list[str], text: str) -> None:
    assert text in cli("agent", SIGNATURE, *words, code=2)


def test_a_run_that_its_time_ends_says_so_and_is_exit_1(cli: Cli) -> None:
    assert "it ran out of time" in cli("agent", SIGNATURE, "--question", "be patient", "--timeout", "2", code=1)


async def test_ctrl_c_cancels_the_run_with_the_model_s_call_and_exits_130(hub: dict[str, Any], model: Model) -> None:
    model.held = Held()
    process = popen("agent", SIGNATURE, "--question", "be patient", "--address", hub["address"])
    try:
        await model.held.asked(PATIENCE)
        process.send_signal(signal.SIGINT)
        await model.held.given_up(PATIENCE)
        _, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (130, "error: interrupted\n")
    finally:
        process.kill()
        process.communicate()


async def test_a_closed_pipe_cancels_the_run_quietly(hub: dict[str, Any], model: Model) -> None:
    add = step("I add.", "add", a=1, b=2)
    second = Held(add)
    # The third is for a run that nobody ends.
    model.next_answers = [add, second, Held()]
    words = ["--json", "--question", "as I am told", "--address", hub["address"]]
    process = popen("agent", SIGNATURE, *words)
    try:
        assert process.stdout is not None
        assert process.stderr is not None
        assert await asyncio.to_thread(read_line, process)
        await second.asked(PATIENCE)
        process.stdout.close()
        second.release()
        assert (await asyncio.to_thread(process.wait, PATIENCE), process.stderr.read()) == (141, "")
        async with GRPCToolBridge(hub["address"]) as bridge, asyncio.timeout(PATIENCE):
            while (await bridge.client.get_metrics("hub.agent_runs"))["hub.agent_runs"].integer_value:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        process.kill()
        process.communicate()


def test_a_worker_without_tools_runs_agents(
    served: ModelServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving("--tools", TOOLS, stderr=subprocess.DEVNULL) as (hub, _):
        words = ["--agents", "--model", "openai/scripted", "--api-base", served.url, "--address", hub["address"]]
        worker = popen("worker", *words, "--json", env=ENVIRONMENT)
        try:
            said = json.loads(read_line(worker))
            assert (said["agents"], said["tools"]) == (True, [])
            monkeypatch.setenv("TOOL_BRIDGE_ADDRESS", hub["address"])
            assert "4" in runner(capsys)("agent", SIGNATURE, "--question", "What is 2+2?")
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(PATIENCE) == 0
        finally:
            worker.kill()
            worker.communicate()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["worker"], "it is optional with --agents"),
        (["worker", TOOLS, "--model", "m"], "--model: for agents only; give --agents, too"),
        (["serve", "--api-base", "http://127.0.0.1:1"], "give --agents, too"),
        (["serve", "--agents", "--api-base", "here"], "serve: agents: api_base is not a base URL"),
        (["worker", "--agents", "--api-base", "http://me:secret@here"], "worker: agents: api_base contains a user"),
    ],
)
def test_what_is_said_of_agents_needs_some(words: list[str], text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert text in capsys.readouterr().err
