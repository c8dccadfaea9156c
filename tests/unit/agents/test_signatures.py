"""Signatures: what people write is read, inputs are matched, and nothing that is written is ever run."""

from typing import Any, Literal

import pytest

from grpc_tool_bridge.agents.signature_fields import MAX_FIELDS
from grpc_tool_bridge.agents.signatures import MAX_PROBLEMS, read_signature
from grpc_tool_bridge.errors import ValidationError

# ------------------------------------------------------------------------------------------------------- what is read


@pytest.mark.parametrize(
    ("text", "inputs", "outputs"),
    [
        ("Question -> Answer", {"Question": str}, {"Answer": str}),
        ("question->answer", {"question": str}, {"answer": str}),
        ("  a, b -> c, d\n", {"a": str, "b": str}, {"c": str, "d": str}),
        ("text: str, limit: int -> score: float", {"text": str, "limit": int}, {"score": float}),
        ("q: list[str] -> a: dict[str, typing.Any]", {"q": list[str]}, {"a": dict[str, Any]}),
        ("q -> label: Literal['good', 'bad', -1]", {"q": str}, {"label": Literal["good", "bad", -1]}),
        ("q: Optional[int] -> a: tuple[int, ...]", {"q": int | None}, {"a": tuple[int, ...]}),
        ("q: int | str | None -> a: bool", {"q": int | str | None}, {"a": bool}),
        ("città -> größe", {"città": str}, {"größe": str}),
    ],
)
def test_fields_are_read_as_people_write_them(text: str, inputs: dict[str, Any], outputs: dict[str, Any]) -> None:
    signature = read_signature(text)
    assert {name: field.type for name, field in signature.inputs.items()} == inputs
    assert {name: field.type for name, field in signature.outputs.items()} == outputs


def test_what_follows_the_first_line_is_the_instructions() -> None:
    text = "text -> label\n\nJudge the tone -> not the opinion.\nBe brief: import os\n"
    signature = read_signature(text)
    assert signature.instructions == "Judge the tone -> not the opinion.\nBe brief: import os"
    assert signature.dspy_class.instructions == signature.instructions
    assert read_signature("text -> label").instructions is None


def test_dspy_is_given_the_same_fields() -> None:
    made = read_signature("Question, limit: int -> Answer: list[str]").dspy_class
    assert {name: field.annotation for name, field in made.input_fields.items()} == {"Question": str, "limit": int}
    assert {name: field.annotation for name, field in made.output_fields.items()} == {"Answer": list[str]}


# -------------------------------------------------------------------------------------------------- inputs are matched


@pytest.mark.parametrize("name", ["Question", "question", "QUESTION"])
def test_an_input_is_matched_without_regard_to_case(name: str) -> None:
    assert read_signature("Question -> Answer").bind({name: "why?"}) == {"Question": "why?"}


def test_a_name_that_is_longer_in_the_other_case_is_matched_too() -> None:
    assert read_signature("STRASSE -> Answer").bind({"straße": "here"}) == {"STRASSE": "here"}


def test_missing_and_unknown_inputs_are_refused_by_name() -> None:
    with pytest.raises(ValidationError) as caught:
        read_signature("Question, limit: int -> Answer").bind({"question": "why?", "context": "none"})
    assert set(caught.value.details) == {"limit", "context"}
    assert caught.value.details["limit"] == "missing"
    assert "it has Question, limit" in caught.value.details["context"]


def test_an_input_that_is_given_in_two_cases_is_refused() -> None:
    with pytest.raises(ValidationError, match="given twice"):
        read_signature("Question -> Answer").bind({"question": "a", "Question": "b"})


def test_a_typed_input_is_converted_or_refused_by_name() -> None:
    signature = read_signature("limit: int -> answer")
    assert signature.bind({"limit": 3.0}) == {"limit": 3}
    with pytest.raises(ValidationError) as caught:
        signature.bind({"limit": "many"})
    assert "valid integer" in caught.value.details["limit"]


def test_an_input_without_a_type_takes_any_value() -> None:
    assert read_signature("data -> answer").bind({"data": [1, {"a": None}]}) == {"data": [1, {"a": None}]}


def test_of_many_inputs_that_do_not_fit_a_few_are_named() -> None:
    signature = read_signature("question, numbers: list[int] -> answer")
    with pytest.raises(ValidationError) as caught:
        signature.bind({f"no{number}": number for number in range(100_000)} | {"x" * 1_000: 1})
    assert len(caught.value.details) == MAX_PROBLEMS + 2
    assert len(caught.value.message) < 5_000
    with pytest.raises(ValidationError) as caught:
        signature.bind({"question": "q", "numbers": ["x"] * 100_000})
    assert caught.value.details == {"numbers": "100,000 values in it are of another type"}
    with pytest.raises(ValidationError) as caught:
        signature.bind({"question": "q", "numbers": [1], "x" * 1_000: 1})
    assert len(next(iter(caught.value.details))) < 200


@pytest.mark.parametrize("kind", ["List", "Dict", "Tuple", "Set", "list", "dict", "tuple", "set"])
def test_a_container_may_say_nothing_of_what_it_holds(kind: str) -> None:
    assert read_signature(f"a: {kind} -> b").inputs["a"].typed


def test_an_optional_input_may_be_left_out() -> None:
    assert read_signature("q, limit: int | None -> a").bind({"q": "why?"}) == {"q": "why?", "limit": None}


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Question",
        "->",
        "Question ->",
        "-> Answer",
        "a -> b -> c",
        "a b -> c",
        "a, a -> b",
        "a, A -> b",
        "a -> a",
        "1a -> b",
        "class -> b",
        "a = 1 -> b",
        "*a -> b",
        "**a -> b",
        "a, /, b -> c",
        "*, a -> b",
        "_a -> b",
        "trajectory -> b",
        "model_config -> b",
        "a -> next_tool_name",
        "a -> reasoning",
        "completed -> b",
        "signature -> b",
        "a -> config",
        "instructions -> b",
        "a -> input_fields",
        "a, *, b -> c",
        "a\x00 -> b",
        "a): pass # -> b",
        "completions -> b",
    ],
)
def test_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="signature"):
        read_signature(text)


@pytest.mark.parametrize(
    "kind",
    [
        "os.PathLike",
        "os.Any",
        "subprocess.Popen",
        "typing.os",
        "builtins.eval",
        "str.__class__",
        "__import__('os')",
        "print('run')",
        "(lambda: 1)()",
        "[x for x in 'ab']",
        "(y := 1)",
        "f'{print(1)}'",
        "'str'",
        "Literal[print(1)]",
        "Literal[1.5]",
        "Literal[b'a']",
        "list[os.system]",
        "int[str]",
        "Optional[int, str]",
        "Optional",
        "...",
        "object",
        "str and int",
        "9 ** 9 ** 9",
        "tuple[()]",
        "List[()]",
        "Union[()]",
        "Literal[()]",
        "Literal['\\ud800']",
    ],
)
@pytest.mark.parametrize("side", ["a: {} -> b", "a -> b: {}"])
def test_a_type_that_is_not_listed_is_refused_and_never_run(
    kind: str, side: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValidationError, match="signature"):
        read_signature(side.format(kind))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "text",
    [
        "a): pass\nimport os\ndef g(b -> c",
        "a): import os; (b -> c",
        "a): pass; print('run'); (0 -> c",
        "a=print('run') -> b",
        "a): pass\rdef g(b -> c",
    ],
)
def test_a_text_that_would_be_code_is_refused_and_never_run(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValidationError, match="signature"):
        read_signature(text)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "text",
    [
        "x" * 1_000_000,
        f"{'x' * 3_000} -> y",
        f"a -> b\n{'x' * 20_000}",
        f"{', '.join(f'f{number}' for number in range(MAX_FIELDS))} -> b",
        f"a: {'list[' * 9}int{']' * 9} -> b",
        f"a: {'(' * 900}int{')' * 900} -> b",
        f"a: {'list[' * 300}int{']' * 300} -> b",
        f"a: {'int | ' * 300}int -> b",
        f"a: {'-' * 1_900}1 -> b",
    ],
    ids=["huge", "long line", "long instructions", "many fields", "deep", "brackets", "deeper", "union", "signs"],
)
def test_a_text_that_is_too_large_or_too_deep_is_refused_in_few_words(text: str) -> None:
    with pytest.raises(ValidationError, match="signature") as caught:
        read_signature(text)
    assert len(caught.value.message) < 5_000


def test_a_long_line_is_cut_where_it_is_refused() -> None:
    with pytest.raises(ValidationError, match="its first line has 3,005 characters") as caught:
        read_signature(f"{'x' * 3_000} -> y")
    assert len(caught.value.message) < 500
