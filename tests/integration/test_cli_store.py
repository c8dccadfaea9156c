"""``serve --store`` and ``store``: hubs in processes of their own, whose stores are read, copied and replaced."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from failure_modes.test_link_restart import Watching
from grpc_tool_bridge import ConflictError, GRPCToolBridge, ResourceExhaustedError
from grpc_tool_bridge.cli import main, store_text
from grpc_tool_bridge.stores.sqlite import health, holding
from grpc_tool_bridge.values.serialization import deserialize_value
from integration.test_cli import PATIENCE, TOOLS, doctor, popen, read_line, runner, serving
from support.store_files import SECRET, damage, filled, names_in, rows, state_of
from support.waiting import soon, until

PAUSED = Path(__file__).with_name("paused_copy.py")
needs_locks = pytest.mark.skipif(not holding.LOCKS.exists(), reason="the system does not tell who has a lock")


def url(path: Path) -> str:
    return f"sqlite:///{path}"


@contextmanager
def hub(path: Path, *words: str, **options: Any) -> Iterator[dict[str, Any]]:
    """Runs a hub with a store."""
    with serving("--store", url(path), *words, **{"stderr": subprocess.DEVNULL, **options}) as (announced, _):
        yield announced


@asynccontextmanager
async def client(address: str, **options: Any) -> AsyncIterator[GRPCToolBridge]:
    async with GRPCToolBridge(address, keep_session=True, **options) as bridge:
        await bridge.initialize("s")
        yield bridge


async def command(*words: str, code: int = 0) -> dict[str, Any]:
    """Runs a command in a process of its own; gives its JSON."""
    process = popen(*words, "--json")
    out, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    assert process.returncode == code, err
    found: dict[str, Any] = json.loads(out if not code else err)
    return found


# -------------------------------------------------------------------------------------------------------------- serve


async def test_a_hub_that_was_killed_says_what_it_has_restored(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    with serving("--store", url(path), ends_with=-signal.SIGKILL) as (told, process):
        assert (told["store"], told["store_is_new"], told["sessions_restored"]) == (str(path), True, 0)
        async with client(told["address"]) as bridge:
            await bridge.client.session_context.set_variable("x", 1)
        process.kill()
    with hub(path) as told:
        assert (told["store_is_new"], told["sessions_restored"]) == (False, 1)
        async with client(told["address"]) as bridge:
            assert await bridge.client.session_context.get_variable("x") == 1


async def test_a_watch_of_the_command_goes_on_when_its_hub_was_killed_and_is_back(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    words = ["vars", "watch", "--session", "s", "--json", "--connect-timeout", str(PATIENCE)]
    with serving("--store", url(path), ends_with=-signal.SIGKILL) as (told, process):
        address = told["address"]
        async with client(address) as bridge:
            await bridge.client.session_context.set_variable("x", 1)
        watching = popen(*words, "--address", address)
        seen = [json.loads(await asyncio.to_thread(read_line, watching))]
        process.kill()
    try:
        with serving("--store", url(path), "--address", address):
            async with client(address) as bridge:
                await bridge.client.session_context.set_variable("x", 2)
            seen.append(json.loads(await asyncio.to_thread(read_line, watching)))
    finally:
        watching.kill()
        watching.communicate(timeout=PATIENCE)
    assert [(change["operation"], change["value"]) for change in seen] == [("set", 1), ("update", 2)]


@pytest.mark.parametrize("is_new", [True, False])
async def test_a_hub_says_to_people_where_its_state_is_kept_and_whether_it_began_there(
    is_new: bool, tmp_path: Path
) -> None:
    path = tmp_path / "hub.db"
    if not is_new:
        with hub(path) as told:
            async with client(told["address"]):
                pass
    process = popen("serve", "--address", "127.0.0.1:0", "--store", url(path))
    try:
        read_line(process)
        assert read_line(process) == f"State is kept in {path} ({'a new store' if is_new else '1 session restored'})\n"
    finally:
        process.kill()
        process.communicate()


def test_a_store_is_a_setting_like_others(tmp_path: Path) -> None:
    path, config = tmp_path / "hub.db", tmp_path / "hub.toml"
    env = {**os.environ, "TOOL_BRIDGE_STORE": url(path)}
    with serving(env=env, stderr=subprocess.DEVNULL) as (told, _):
        assert told["store"] == str(path)
    config.write_text(f'store = "{url(path)}"\n')
    with serving("--config", str(config), stderr=subprocess.DEVNULL) as (told, _):
        assert told["store"] == str(path)
    with serving("--store", "memory:", env=env, stderr=subprocess.DEVNULL) as (told, _):
        assert "store" not in told


def test_a_store_that_cannot_be_used_is_one_line_and_exit_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "hub.db"
    run = runner(capsys)
    words = ["serve", "--address", "127.0.0.1:0", "--store"]
    with serving("--store", url(path), stderr=subprocess.DEVNULL) as (told, _):
        text = run(*words, url(path), code=1)
        assert f"another hub (process {told['pid']}) has the store {path}; stop it first" in text
    assert "make its directory first" in run(*words, url(tmp_path / "none" / "hub.db"), code=1)
    path.write_text("no database at all " * 1_000)
    assert "damaged" in run(*words, url(path), code=1)
    assert "is no store; give memory:" in run(*words, "postgres://host/hub", code=2)
    assert "setting max_store_bytes" in run(*words, url(path), "--max-store-bytes", "-1", code=2)


def test_the_store_of_a_hub_is_nothing_to_a_worker_or_to_mcp(tmp_path: Path) -> None:
    env = {**os.environ, "TOOL_BRIDGE_STORE": url(tmp_path / "hub.db")}
    with serving("--store", "memory:", stderr=subprocess.DEVNULL) as (told, _):
        worker = popen("worker", TOOLS, "--address", told["address"], "--json", env=env)
        try:
            assert read_line(worker)
        finally:
            worker.kill()
            worker.communicate()
    mcp = popen("mcp", "--tools", TOOLS, env=env, stdin=subprocess.DEVNULL)
    _, err = mcp.communicate(timeout=PATIENCE)
    assert mcp.returncode == 0, err
    assert names_in(tmp_path) == []


# --------------------------------------------------------------------------------------------------------------- info


async def test_info_tells_what_a_hub_has_stored_while_it_runs_and_no_value(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hub.db"
    with hub(path, "--tools", TOOLS) as told:
        async with client(told["address"]) as bridge:
            await bridge.client.session_context.set_variable("x", SECRET, metadata={"secret": True})
            await bridge.client.session_context.set_variable("x", SECRET)
            await bridge.tools["add"].with_options(idempotency_key="k")(1, 2)
            found = await command("store", "info", str(path))
            epoch = (await bridge.client.get_metrics("hub.epoch"))["hub.epoch"].string_value
        assert found["process"] == (told["pid"] if holding.LOCKS.exists() else None)
        assert (found["epoch"], found["format"], found["session_count"]) == (epoch, 2, 1)
        (session,) = found["sessions"]
        assert session["session_id"] == "s"
        assert (session["variables"], session["changes"], session["answers"]) == (1, 2, 1)
        assert session["change_bytes"] > session["variable_bytes"] > 0
        assert await command("store", "info", url(path), "--session", "s") == found
        missing = await command("store", "info", url(path), "--session", "t", code=1)
        assert missing["error"]["type"] == "SessionNotFound"
    assert SECRET not in json.dumps(found)
    run = runner(capsys)
    text = run("store", "info", str(path))
    assert f"{path}\nformat 2, epoch {epoch}, variables at revision " in text
    assert "no process is known to have it" in text
    assert "1 session; 0 that have ended are remembered\n" in text
    (answers,) = [line.split() for line in text.splitlines() if line.startswith("kept answers")]
    assert answers[2] == "1"
    lines = text.splitlines()
    (heading,) = [line for line in lines if line.startswith("kind ")]
    (row,) = [line for line in lines if line.startswith("kept answers")]
    assert len(row) == len(heading), "numbers are under the end of their heading"
    assert "session s, started " in run("store", "info", str(path), "--session", "s")
    assert SECRET not in text


def test_info_shows_people_the_largest_sessions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = asyncio.run(filled(tmp_path / "hub.db"))
    monkeypatch.setattr(store_text, "MAX_SESSIONS", 1)
    text = runner(capsys)("store", "info", str(path))
    assert "… 1 smaller sessions; --json has all" in text
    assert "\none " in text
    assert "\ntwo " not in text


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (["info", "/no/where.db"], "there is no store /no/where.db; give the path", 1),
        (["info", "memory:"], "memory: keeps nothing", 2),
        (["info", "postgres://host/hub"], "is no store; give memory:", 2),
        (["info"], "missing argument 'STORE'", 2),
        (["backup", "/no/where.db"], "missing argument 'FILE'", 2),
        (["backup", "/no/where.db", "x.db"], "there is no store /no/where.db", 1),
        (["restore", "/no/where.db", "x.db"], "there is no backup /no/where.db", 1),
        (["vacuum", "/no/where.db"], "there is no store /no/where.db", 1),
        (["vacuum", "/"], "names no file", 2),
    ],
)
def test_a_wrong_argument_is_one_line(
    words: list[str], text: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text in runner(capsys)("store", *words, code=code)


# ------------------------------------------------------------------------------------------------------------- backup


class Writing:
    """A client that sets two variables in turn to the same rising number, as fast as it can.

    Attributes:
        acknowledged: The last number that both have for certain.
    """

    def __init__(self, bridge: GRPCToolBridge) -> None:
        self._variables = bridge.client.session_context
        self.acknowledged = 0
        self._task = asyncio.create_task(self._write())

    async def _write(self) -> None:
        while True:
            number = self.acknowledged + 1
            await self._variables.set_variable("first", number)
            await self._variables.set_variable("second", number)
            self.acknowledged = number

    async def writes_on(self) -> None:
        """Waits until some more has been acknowledged."""
        wanted = self.acknowledged + 3
        await until(lambda: self.acknowledged >= wanted or self._task.done())
        assert not self._task.done()

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def numbers(path: Path) -> tuple[int, int]:
    """Opens a store as a hub does; returns what the two variables are."""
    (session,) = (await state_of(path)).sessions
    found = {each.name: deserialize_value(each.value) for each in session.variables}
    return found["first"], found["second"]


async def test_backups_while_a_hub_writes_are_each_a_state_that_it_was_in(tmp_path: Path) -> None:
    path = tmp_path / "hub.db"
    before = (0, 0)
    with hub(path) as told:
        async with client(told["address"]) as bridge:
            writing = Writing(bridge)
            await writing.writes_on()
            for number in range(4):
                known = writing.acknowledged
                target = tmp_path / f"{number}.db"
                made = await command("store", "backup", url(path), str(target))
                at_most = writing.acknowledged + 1
                assert made["bytes"] == target.stat().st_size
                assert stat.S_IMODE(target.stat().st_mode) == 0o600
                first, second = await numbers(target)
                assert first - second in {0, 1}
                assert known <= second <= at_most
                assert (first, second) >= before
                before = (first, second)
            await writing.end()


@contextmanager
def paused(*words: str, **options: Any) -> Iterator["subprocess.Popen[str]"]:
    """Runs a command that copies a store, and is paused while it copies until it reads a line."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, str(PAUSED), *words], stdin=pipe, stdout=pipe, stderr=pipe, text=True, **options
    )
    try:
        assert read_line(process) == "copying\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def go_on(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate("\n", timeout=PATIENCE)
    return process.returncode, out, err


async def test_a_hub_writes_on_while_a_backup_is_made_of_the_moment_at_which_that_began(tmp_path: Path) -> None:
    path, target = tmp_path / "hub.db", tmp_path / "backup.db"
    with hub(path) as told:
        async with client(told["address"]) as bridge:
            variables = bridge.client.session_context
            await variables.set_variable("x", "before")
            with paused("store", "backup", str(path), str(target)) as process:
                (part,) = [name for name in names_in(tmp_path) if name.endswith(".part")]
                assert stat.S_IMODE((tmp_path / part).stat().st_mode) == 0o600
                assert not target.exists()
                for number in range(50):
                    await variables.set_variable("x", number)
                code, out, err = await asyncio.to_thread(go_on, process)
            assert (code, err) == (0, "")
            assert f"{target} has the state of {path}: " in out
            assert rows(target, "SELECT count(*) FROM changes") == [(1,)]
            assert await variables.get_variable("x") == 49


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_backup_that_is_stopped_leaves_no_file(number: signal.Signals, tmp_path: Path) -> None:
    path, target = tmp_path / "hub.db", tmp_path / "backup.db"
    with hub(path) as told:
        async with client(told["address"]) as bridge:
            await bridge.client.session_context.set_variable("x", 1)
        before = names_in(tmp_path)
        with paused("store", "backup", str(path), str(target)) as process:
            process.send_signal(number)
            _, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
        assert (process.returncode, err) == (130, "error: interrupted\n")
        assert names_in(tmp_path) == before


async def test_a_backup_that_is_killed_leaves_what_nobody_takes_for_one_and_the_hub_goes_on(tmp_path: Path) -> None:
    path, target = tmp_path / "hub.db", tmp_path / "backup.db"
    with hub(path) as told:
        async with client(told["address"]) as bridge:
            variables = bridge.client.session_context
            await variables.set_variable("x", 1)
            with paused("store", "backup", str(path), str(target)) as process:
                process.kill()
                process.wait(PATIENCE)
            assert not target.exists()
            left = [name for name in names_in(tmp_path) if name.startswith(".backup.db.")]
            assert all(".part" in name for name in left)
            await variables.set_variable("x", 2)
            await command("store", "backup", str(path), str(target))
    assert len(rows(target, "SELECT * FROM changes")) == 2


async def test_a_backup_of_a_hub_that_is_killed_meanwhile_is_whole(tmp_path: Path) -> None:
    path, target = tmp_path / "hub.db", tmp_path / "backup.db"
    with serving("--store", url(path), ends_with=-signal.SIGKILL, stderr=subprocess.DEVNULL) as (told, serve):
        async with client(told["address"]) as bridge:
            await bridge.client.session_context.set_variable("x", 1)
            with paused("store", "backup", str(path), str(target)) as process:
                serve.kill()
                serve.wait(PATIENCE)
                assert (await asyncio.to_thread(go_on, process))[0] == 0
    assert len(rows(target, "SELECT * FROM changes")) == 1
    with hub(path) as told:
        assert told["sessions_restored"] == 1


def test_a_backup_is_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = tmp_path / "hub.db", tmp_path / "backup.db"
    with hub(path):
        run = runner(capsys)
        run("store", "backup", str(path), str(target))
        assert "replace it with --force" in run("store", "backup", str(path), str(target), code=2)
        run("store", "backup", str(path), str(target), "--force")
        assert "belongs to the store itself" in run("store", "backup", str(path), f"{path}-wal", "--force", code=2)


# ------------------------------------------------------------------------------------------------------------ restore


async def test_clients_go_on_at_a_restored_hub_with_what_the_backup_has(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, target = tmp_path / "hub.db", tmp_path / "backup.db"
    renewed: list[str] = []
    with hub(path) as told:
        bridge = GRPCToolBridge(told["address"], keep_session=True, on_session_renewed=lambda: renewed.append("s"))
        await bridge.initialize("s")
        variables = bridge.client.session_context
        await variables.set_variable("x", "backed up")
        watch = Watching(variables.watch_variables())
        await watch.sees(1)
        await command("store", "backup", str(path), str(target))
        later = await variables.set_variable("x", "lost")
        await watch.sees(2)
        refused = await command("store", "restore", str(target), str(path), "--force", code=1)
        assert "has the store" in refused["error"]["message"]
    refused = await command("store", "restore", str(target), str(path), code=2)
    assert refused["error"]["message"].endswith("replace it with --force")
    made = await command("store", "restore", str(target), str(path), "--force")
    assert len(rows(Path(made["kept"]), "SELECT * FROM changes")) == 2
    words = ["serve", "--address", told["address"], "--json", "--store", url(path)]
    process = popen(*words, stderr=subprocess.DEVNULL)
    try:
        assert json.loads(read_line(process))["sessions_restored"] == 1
        seen = await watch.sees(4)
        assert seen[:2] == [("set", "x", "backed up"), ("update", "x", "lost")]
        assert [operation for operation, _, _ in seen[2:]] == ["reset", "set"]
        assert seen[3] == ("set", "x", "backed up")
        assert watch.changes[-1].epoch == made["epoch"] != watch.changes[0].epoch
        with pytest.raises(ConflictError):
            await soon(variables.set_variable("x", "built on what is lost", expected_revision=later))
        assert await soon(variables.set_variable("x", "new")) > later + 1_000_000
        assert renewed == []
        assert "has restarted" not in caplog.text
        await watch.end()
        await bridge.close()
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)


def test_a_damaged_backup_is_not_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, target = tmp_path / "hub.db", tmp_path / "backup.db"
    with hub(path):
        runner(capsys)("store", "backup", str(path), str(target))
    damage(target)
    before = names_in(tmp_path)
    text = runner(capsys)("store", "restore", str(target), str(path), "--force", code=1)
    assert "damaged" in text
    assert text.endswith("take another backup\n")
    assert names_in(tmp_path) == before


@pytest.mark.parametrize(
    "words", [["restore", "{none}", "{new}"], ["restore", "{other}", "{new}"], ["vacuum", "{other}"]]
)
def test_what_fails_leaves_no_lock_behind(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = {name: str(tmp_path / f"{name}.db") for name in ("none", "new", "other")}
    Path(paths["other"]).write_text("no database at all " * 1_000)
    assert runner(capsys)("store", *(word.format(**paths) for word in words), code=1)
    assert names_in(tmp_path) == ["other.db"]


def test_a_restore_that_is_stopped_leaves_the_store_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, target = tmp_path / "hub.db", tmp_path / "backup.db"
    with hub(path):
        runner(capsys)("store", "backup", str(path), str(target))
    before, content = names_in(tmp_path), path.read_bytes()
    with paused("store", "restore", str(target), str(path), "--force") as process:
        process.terminate()
        assert process.wait(PATIENCE) == 130
    assert names_in(tmp_path) == before
    assert path.read_bytes() == content


# ------------------------------------------------------------------------------------------------------------- vacuum


async def test_a_vacuum_gives_room_back_when_the_hub_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "hub.db"
    with hub(path) as told:
        async with client(told["address"]) as bridge:
            await bridge.client.session_context.set_variable("large", "x" * 2_000_000)
        async with GRPCToolBridge(told["address"]) as bridge:
            await bridge.initialize("s")
            await bridge.client.cleanup_session()
        refused = await command("store", "vacuum", str(path), code=1)
        assert "has the store" in refused["error"]["message"]
    size = path.stat().st_size
    found = await command("store", "vacuum", str(path))
    assert (found["bytes_before"], found["bytes"]) == (size, path.stat().st_size)
    assert size > 2_000_000 > found["bytes"]
    assert f"{path} has " in runner(capsys)("store", "vacuum", str(path))
    with hub(path) as told:
        assert told["sessions_restored"] == 0


# ------------------------------------------------------------------------------------------------------------- doctor


def test_doctor_finds_nothing_wrong_with_a_good_store_whether_a_hub_has_it_or_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hub.db"
    monkeypatch.setattr(health, "mount_of", lambda folder: health.Mount("ext4", "/"))
    names = ["store", "integrity", "secrets", "files", "disk", "room", "directory", "flush"]
    with hub(path, "--tools", TOOLS) as told:
        checks = doctor(capsys, "--store", url(path), code=0)
        assert list(checks) == names
        if holding.LOCKS.exists():
            assert f"process {told['pid']} has it" in checks["store"][1]
        of_hub = doctor(capsys, "--address", told["address"], code=0)
        assert of_hub["store"][0] == "ok"
    checks = doctor(capsys, "--store", str(path), "--full", code=0)
    assert list(checks) == names
    assert "full check" in checks["integrity"][1]
    assert "0 sessions" in checks["store"][1]
    assert main(["doctor", "--store", str(path)]) == 0
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == names


async def test_doctor_says_that_a_hub_cannot_store_changes(tmp_path: Path) -> None:
    with hub(tmp_path / "hub.db", "--max-store-bytes", "200000", "--tools", TOOLS) as told:
        async with client(told["address"]) as bridge:
            with pytest.raises(ResourceExhaustedError):
                await bridge.client.session_context.set_variable("x", "x" * 300_000)
        process = popen("doctor", "--address", told["address"], "--json")
        out, _ = await asyncio.to_thread(process.communicate, timeout=PATIENCE)
    checks = {check["name"]: check for check in json.loads(out)["checks"]}
    assert checks["store"]["status"] == "fail"
    assert "the hub cannot store changes: the store has reached its limit of 200,000 bytes" in checks["store"]["text"]


def test_doctor_names_what_is_wrong_with_a_store(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "hub.db"
    assert doctor(capsys, "--store", str(path), code=0)["store"][0] == "warn"
    missing = doctor(capsys, "--store", "/no/where.db", code=1)["store"][1]
    assert missing == "there is no directory /no; make it: mkdir -m 700 /no"
    with hub(path):
        pass
    path.chmod(0o644)
    monkeypatch.setattr(health, "mount_of", lambda folder: health.Mount("nfs4", "/srv"))
    checks = doctor(capsys, "--store", str(path), code=1)
    assert checks["files"] == ("warn", f"others may use them (mode 644): chmod 600 {path}")
    assert checks["disk"] == ("fail", "nfs4 at /srv is not a local disk, which a store needs; give a path on one")
    monkeypatch.setattr(health, "mount_of", lambda folder: health.Mount("overlay", "/"))
    assert doctor(capsys, "--store", str(path), code=0)["disk"][0] == "warn"
    damage(path)
    checks = doctor(capsys, "--store", str(path), "--full", code=1)
    assert checks["integrity"][0] == "fail" if "integrity" in checks else checks["store"][0] == "fail"
    path.write_text("no database at all " * 1_000)
    assert doctor(capsys, "--store", str(path), code=1)["store"][0] == "fail"
    checks = doctor(capsys, "--store", str(tmp_path), code=1)
    assert checks["store"] == ("fail", f"{tmp_path} is no file; give the path of a store")
    assert "files" not in checks, "chmod 600 is no advice for a directory"


def test_doctor_refuses_options_that_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    run = runner(capsys)
    assert "--full: of a store only" in run("doctor", "--full", code=2)
    assert "--store: memory: keeps nothing" in run("doctor", "--store", "memory:", code=2)
