"""Who is asked to log in, and what a browser has from then on."""

from typing import Any

import pytest
from starlette.datastructures import Headers

from grpc_tool_bridge.errors import AccessError
from grpc_tool_bridge.gateway.login import COOKIE, BrowserLogin, opens_page
from grpc_tool_bridge.rpc.authentication import BearerToken


def cookie_of(given: str) -> Headers:
    return Headers({"cookie": f"other=1; {given.partition(';')[0]}"})


def test_a_cookie_is_given_for_the_token_alone() -> None:
    login = BrowserLogin(BearerToken("hush"), secure=False)
    given = login.cookie("hush")
    assert login.has_cookie(cookie_of(given))
    assert given.partition("; ")[2] == "Path=/; HttpOnly; SameSite=Strict"
    for wrong in ("", "hush ", "Hush", "hüsh"):
        with pytest.raises(AccessError, match="the token is wrong"):
            login.cookie(wrong)


def test_a_cookie_is_worth_nothing_to_another_hub_and_after_a_log_out() -> None:
    login, other = [BrowserLogin(BearerToken("hush"), secure=True) for _ in range(2)]
    assert not other.has_cookie(cookie_of(login.cookie("hush")))
    expired = login.expired_cookie()
    assert expired == f"{COOKIE}=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict; Secure"
    assert not login.has_cookie(cookie_of(expired))


@pytest.mark.parametrize("cookie", ["", COOKIE, f"{COOKIE}=", f"{COOKIE}=é", "=;=", "\x00", f'{COOKIE}="'])
def test_what_is_no_cookie_of_ours_is_none(cookie: str) -> None:
    assert not BrowserLogin(BearerToken("hush"), secure=False).has_cookie(Headers({"cookie": cookie}))


@pytest.mark.parametrize(
    ("scope", "headers", "opens"),
    [
        ({}, {}, True),
        ({}, {"sec-fetch-mode": "navigate"}, True),
        ({}, {"sec-fetch-mode": "cors"}, False),
        ({}, {"accept": "*/*"}, False),
        ({}, {"authorization": "Bearer wrong"}, False),
        ({"method": "POST"}, {}, False),
        ({"path": "/api/sessions"}, {}, False),
    ],
    ids=str,
)
def test_a_person_who_opens_a_page_is_asked(scope: dict[str, Any], headers: dict[str, str], opens: bool) -> None:
    asked = {"method": "GET", "path": "/docs", **scope}
    assert opens_page(Headers({"accept": "text/html", **headers}), asked) == opens
