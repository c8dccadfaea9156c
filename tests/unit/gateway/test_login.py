"""Who is asked to log in, and what a browser has from then on."""

from typing import Any

import pytest
from starlette.datastructures import Headers

from grpc_tool_bridge.errors import AccessError
from grpc_tool_bridge.gateway.login import COOKIE, BrowserLogin, opens_page
from grpc_tool_bridge.rpc.authentication import BearerToken

HUB = Headers({"host": "127.0.0.1:8080", "origin": "http://127.0.0.1:8080"})


def cookie_of(given: str, others: str = "other=1") -> Headers:
    return Headers({"cookie": f"{others}; {given.partition(';')[0]}"})


def test_a_cookie_is_given_for_the_token_alone() -> None:
    login = BrowserLogin(BearerToken("hush"), secure=False)
    given = login.cookie("hush", HUB)
    assert login.has_cookie(cookie_of(given))
    assert given.partition("; ")[2] == "Path=/; HttpOnly; SameSite=Strict"
    for wrong in ("", "hush ", "Hush", "hüsh"):
        with pytest.raises(AccessError, match="the token is wrong"):
            login.cookie(wrong, HUB)


def test_a_cookie_is_worth_nothing_to_another_hub_and_after_a_log_out() -> None:
    login, other = [BrowserLogin(BearerToken("hush"), secure=True) for _ in range(2)]
    assert not other.has_cookie(cookie_of(login.cookie("hush", HUB)))
    expired = login.expired_cookie(HUB)
    assert expired == f"{COOKIE}_8080=; Max-Age=0; Path=/; HttpOnly; SameSite=Strict; Secure"
    assert not login.has_cookie(cookie_of(expired))


def test_hubs_at_two_ports_of_a_host_do_not_take_each_others_cookie_away() -> None:
    login = BrowserLogin(BearerToken("hush"), secure=False)
    hosts = ("a:1", "a:2", "[::1]:3", "a")
    names = [login.cookie("hush", Headers({"host": host})).partition("=")[0] for host in hosts]
    assert names == [f"{COOKIE}_1", f"{COOKIE}_2", f"{COOKIE}_3", COOKIE]


def test_a_cookie_given_over_tls_is_only_sent_over_tls_where_a_proxy_has_ended_it() -> None:
    login = BrowserLogin(BearerToken("hush"), secure=False)
    assert "; Secure" in login.cookie("hush", Headers({"host": "hub.example", "origin": "https://hub.example"}))


@pytest.mark.parametrize(
    "others", ['a={"x": 1}', "a b=1", "a[0]=1", "é", f"{COOKIE}=old", f"{COOKIE}_1=of another hub"]
)
def test_cookies_of_other_programs_do_not_hide_ours(others: str) -> None:
    login = BrowserLogin(BearerToken("hush"), secure=False)
    assert login.has_cookie(cookie_of(login.cookie("hush", HUB), others))


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
