"""Settings that have been renamed can still be given, and read, by their old names."""

from pathlib import Path

import pytest

from grpc_tool_bridge import Settings
from grpc_tool_bridge.config import load_settings

RENAMED = [
    ("agent_run_keep_time", "agent_run_ttl"),
    ("answer_keep_time", "answer_ttl"),
    ("cache_keep_time", "cache_ttl"),
    ("worker_grace", "worker_grace_period"),
]


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_the_old_name_of_a_setting_works_and_warns_of_the_new_one(old: str, new: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"^{old} is deprecated; use {new}$"):
        settings = Settings.model_validate({old: 7})
    assert getattr(settings, new) == 7
    with pytest.warns(DeprecationWarning, match=f"^{old} is deprecated; use {new}$"):
        assert getattr(settings, old) == 7


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_a_setting_that_is_given_by_both_names_is_refused(old: str, new: str) -> None:
    with pytest.raises(ValueError, match=f"{old} and {new} are both set"):
        Settings.model_validate({old: 7, new: 8})


@pytest.mark.parametrize(("old", "new"), RENAMED)
def test_the_environment_and_the_file_take_the_old_name(
    old: str, new: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f"{old} = 7\n")
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(load_settings({}, file), new) == 7
    monkeypatch.setenv(f"TOOL_BRIDGE_{old.upper()}", "9")
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(load_settings({}, file), new) == 9, "the environment comes before the file"
    monkeypatch.setenv(f"TOOL_BRIDGE_{new.upper()}", "11")
    with pytest.warns(DeprecationWarning, match=new):
        assert getattr(load_settings({}, file), new) == 11, "the new name comes before the old one"
