"""What is added to the corpus, and what the command refuses."""

from pathlib import Path

import pytest

from fuzz import corpus
from fuzz.corpus import Target
from fuzz.keep import keep
from fuzz.run import main
from grpc_tool_bridge.values.tagged_json import loads


def test_the_shortest_input_that_reaches_more_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "CORPUS", tmp_path / "corpus")
    read = Target("json", lambda data: loads(data.decode()), (ValueError,))
    read.folder.mkdir(parents=True)
    (read.folder / "number").write_bytes(b"5")
    found = tmp_path / "found"
    found.mkdir()
    for number, data in enumerate([b"7", b"[1, 2, 3, 4]", b"[1, 2]", b'{"a": 5}']):
        (found / str(number)).write_bytes(data)

    added = keep(read, found, "grpc_tool_bridge")

    assert [path.read_bytes() for path in added] == [b"[1, 2]", b'{"a": 5}']
    assert set(read.inputs()) == {read.folder / "number", *added}
    assert keep(read, found, "grpc_tool_bridge") == []


def test_an_unknown_target_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--seconds", "1", "frame"])
    assert ended.value.code == 2
    assert "no target is called frame; there are answers, call_bytes, chaos, " in capsys.readouterr().err
