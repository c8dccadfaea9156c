"""The example that finds one tool among a thousand."""

from pathlib import Path

from support.programs import run_example


def test_it_finds_filters_and_lets_a_model_search(tmp_path: Path) -> None:
    said = run_example("find_tools.py", tmp_path).stdout
    assert said.startswith(
        "'weather in a city' finds weather_now, weather_alerts\n'is a storm coming?' finds weather_alerts\n"
    )
    assert "'archive 77' finds archive_77_file, " in said
    assert "weather_now('Rome') -> 27 degrees and sunny in Rome\n" in said
    assert "of 1,000 tools, weather_alerts, weather_now pass 'weather_*'\n" in said
    assert "a model has search_tools and call_tool\n" in said
    assert "1 tool, the best match first:" in said
    assert "\n    11 degrees and sunny in Oslo\n" in said
    assert "there is no tool 'weather_know'; did you mean weather_now" in said
