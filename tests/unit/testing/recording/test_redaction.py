"""What is secret is found by its name, by its form, or because it was a secret before."""

import base64
from typing import Any

import pytest

from grpc_tool_bridge.testing.recording.redaction import (
    MAX_SECRETS,
    REDACTED,
    Redactor,
    TooManySecretsError,
    secrets_in,
)


@pytest.mark.parametrize(
    "name",
    [
        "password", "db_password", "userPassword", "passwd", "token", "access_token", "accessToken", "ACCESS-TOKEN",
        "api_key", "apiKey", "X-Api-Key", "Authorization", "client_secret", "secret", "credentials", "private_key",
        "cookie", "auth", "pwd",
    ],
)  # fmt: skip
def test_the_usual_names_are_secret(name: str) -> None:
    assert Redactor().is_secret(name)


@pytest.mark.parametrize("name", ["", "max_tokens", "prompt_tokens", "tokenizer", "author", "key", "name", "passage"])
def test_names_that_only_look_alike_are_not(name: str) -> None:
    assert not Redactor().is_secret(name)


def test_further_names_match_as_in_file_names_in_any_case() -> None:
    redactor = Redactor(["ssn", "card_*"])

    assert [name for name in ("SSN", "card_number", "my_ssn", "discard_it") if redactor.is_secret(name)] == [
        "SSN",
        "card_number",
    ]


def test_the_value_of_a_secret_name_is_removed_wherever_it_is_nested() -> None:
    given = {"users": [{"name": "bob", "password": "hunter22", "more": {"api_key": ["k-1234", 5]}}]}

    assert Redactor().json(given) == {"users": [{"name": "bob", "password": REDACTED, "more": {"api_key": REDACTED}}]}


def test_pairs_and_columns_have_names_too() -> None:
    redactor = Redactor()
    pairs = {"$type": "dict", "value": [["token", "abcdef"], [1, "plain"]]}
    frame = {"$type": "pandas.DataFrame", "value": {"columns": ["user", "password"], "rows": [["bob", "hunter22"]]}}

    assert redactor.json(pairs)["value"] == [["token", REDACTED], [1, "plain"]]
    assert redactor.json(frame)["value"]["rows"] == [["bob", REDACTED]]


@pytest.mark.parametrize(
    "text",
    [
        "login of bob with hunter22 failed",
        "b'hunter22'",
        '{"note": "hunter22"}',
        base64.b64encode(b"hunter22").decode(),
        "https://example.com/?q=hunter22",
    ],
)
def test_a_value_that_was_secret_once_is_removed_from_every_text(text: str) -> None:
    redactor = Redactor()
    redactor.json({"password": "hunter22"})

    redacted = redactor.json({"message": [text]})

    assert REDACTED in redacted["message"][0]
    assert "hunter22" not in str(redacted)
    assert base64.b64encode(b"hunter22").decode() not in str(redacted)


def test_secrets_with_quotes_bytes_numbers_and_slashes_are_found_in_their_other_forms() -> None:
    redactor = Redactor()
    redactor.json({"password": 'a"b\nc/d', "token": {"$type": "bytes", "value": base64.b64encode(b"by-tes").decode()}})
    redactor.json({"auth": 123456})

    for text in ('a\\"b\\nc/d', "a%22b%0Ac/d", "got b'by-tes'", "pin 123456"):
        assert REDACTED in redactor.text(text)
    assert redactor.json([123456, 7]) == [REDACTED, 7]


def test_the_longest_of_overlapping_secrets_is_removed_whole() -> None:
    redactor = Redactor()
    redactor.json([{"token": "abcd"}, {"token": "abcd-efgh"}])

    assert redactor.text("x abcd-efgh y") == f"x {REDACTED} y"


def test_short_values_are_removed_under_their_name_but_not_everywhere() -> None:
    redactor = Redactor()

    assert redactor.json({"password": "a"}) == {"password": REDACTED}
    assert redactor.text("a cat") == "a cat"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer abcdefgh1234", "abcdefgh1234"),
        ('{"password": "opensesame"}', "opensesame"),
        ('{\\"api_key\\": \\"opensesame\\"}', "opensesame"),
        ("api_key=opensesame&x=1", "opensesame"),
        ("http://bob:opensesame@example.com/", "opensesame"),
        ("the key sk-abcdefghijklmnopqrstuvwx is wrong", "sk-abc"),
        ("ghp_abcdefghijklmnopqrstuvwx", "ghp_"),
        ("gtbk1.0123456789ab.sZzKZUTCFuP0k9sQYlQyJ-QFwyAvNlTNGIgpf8thEFQ", "gtbk1"),
        ("eyJhbGciOi.eyJzdWIi.c2lnbmF0dXJl", "eyJ"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----", "MIIEow"),
    ],
)
def test_what_has_the_form_of_a_secret_is_removed_from_texts(text: str, secret: str) -> None:
    redacted = Redactor().text(text)

    assert secret not in redacted
    assert REDACTED in redacted


def test_own_patterns_and_an_own_function_remove_more() -> None:
    redactor = Redactor(patterns=[r"\b\d{4}-\d{4}\b"], function=lambda text: text.replace("Bob", "B."))

    assert redactor.json(["Bob has card 1234-5678"]) == [f"B. has card {REDACTED}"]


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="a pattern to redact is not a regular expression: "):
        Redactor(patterns=["("])


@pytest.mark.parametrize("others", [0, 500])
def test_a_secret_is_found_in_short_and_long_texts_among_few_and_many_others(others: int) -> None:
    redactor = Redactor()
    redactor.json([{"token": "hunter22"}, {"token": "hunter22-long"}, *({"token": f"x-{n:04}"} for n in range(others))])

    for size in (0, 10, 100_000):
        around = "·" * size
        text = f"{around}hunter22{around}hunter22-long{around}hunter2"
        assert redactor.text(text) == f"{around}{REDACTED}{around}{REDACTED}{around}hunter2"


def test_more_secrets_than_can_be_looked_for_are_refused() -> None:
    redactor = Redactor()
    with pytest.raises(TooManySecretsError, match=f"more than {MAX_SECRETS:,} different secrets"):
        redactor.json({"tokens": [{"token": f"secret-{number}"} for number in range(6 * MAX_SECRETS)]})


def test_secrets_of_the_environment_are_known_and_other_variables_are_not() -> None:
    redactor = Redactor()
    secrets_in(
        {"OPENAI_API_KEY": "k-12345678", "HOME": "/home/bob", "PWD": "/home/bob", "SHORT_TOKEN": "abc"}, redactor
    )

    assert redactor.text("k-12345678 /home/bob abc") == f"{REDACTED} /home/bob abc"


@pytest.mark.parametrize("value", [None, True, 3, 2.5, [], {}, "plain", {"a": [1, "x"]}])
def test_what_is_not_secret_stays_as_it_is(value: Any) -> None:
    assert Redactor().json(value) == value
    assert Redactor().json(value, secret=True) == (None if value is None else REDACTED)
