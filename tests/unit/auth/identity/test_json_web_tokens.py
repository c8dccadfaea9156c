"""Which JWTs are taken, and which are refused, and why."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from grpc_tool_bridge import Settings, UnavailableError
from grpc_tool_bridge.auth.identity import json_web_tokens, key_source, watched_file
from grpc_tool_bridge.auth.identity.json_web_tokens import JsonWebTokens
from grpc_tool_bridge.auth.identity.jwks import read_keys
from grpc_tool_bridge.config.token_rules import signing_algorithms
from grpc_tool_bridge.errors import AccessError
from support.jwts import AUDIENCE, ISSUER, KeyServer, jwk_of, jwks_of, part, private_key, token_of
from support.waiting import until


def settings_of(keys: object, **more: Any) -> Settings:
    given = {"jwt_issuer": ISSUER, "jwt_audience": [AUDIENCE], "jwt_keys": str(keys), "jwt_leeway": 0, **more}
    return Settings(**given)


@pytest.fixture
async def tokens(tmp_path: Path) -> JsonWebTokens:
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks_of("rsa", "rsa-2", "ec", "ed"))
    made = JsonWebTokens(settings_of(path))
    await made.start()
    return made


def refusal(tokens: JsonWebTokens, token: str | bytes) -> str:
    with pytest.raises(AccessError) as caught:
        tokens.principal_of(token if isinstance(token, bytes) else token.encode())
    assert caught.value.error_type == "Unauthenticated"
    return caught.value.message


@pytest.mark.parametrize(("key", "algorithm"), [("rsa", "RS256"), ("rsa-2", "PS256"), ("ec", "ES256"), ("ed", "EdDSA")])
async def test_a_signed_token_names_its_caller(tokens: JsonWebTokens, key: str, algorithm: str) -> None:
    principal = tokens.principal_of(token_of(key, algorithm, exp=4_000_000_000, dept="x").encode())
    assert principal is not None
    assert (principal.name, principal.groups, principal.method) == ("ann", frozenset({"analysts"}), "jwt")
    assert principal.expires_at == 4_000_000_000
    assert principal.claims["dept"] == "x"
    assert tokens.principal_of(b"no JWT") is None


# 2020 and 2096, in seconds since the epoch.
PAST, FUTURE = 1_600_000_000, 4_000_000_000


@pytest.mark.parametrize(
    ("claims", "text"),
    [
        ({"exp": PAST}, "has expired"),
        ({"exp": None}, "lacks one of the claims exp, iss and aud"),
        ({"nbf": FUTURE}, "is not valid yet"),
        ({"iat": FUTURE}, "is not valid yet"),
        ({"aud": "https://other.example"}, "for another audience"),
        ({"aud": None}, "lacks one of"),
        ({"aud": [1, 2]}, "another audience"),
        ({"iss": "https://other.example"}, "of another issuer"),
        ({"iss": f"{ISSUER}/"}, "of another issuer"),
        ({"iss": None}, "lacks one of"),
        ({"sub": None}, "claim sub must be a name"),
        ({"sub": ""}, "claim sub must be a name"),
        ({"sub": "a\nb"}, "claim sub must be a name"),
        ({"sub": "x" * 3_000}, "claim sub must be a name"),
        ({"groups": {"a": 1}}, "claim groups must be a list"),
        ({"groups": [1]}, "claim groups must be a list"),
        ({"groups": ["g"] * 1_001}, "names 1,001 groups"),
    ],
    ids=str,
)
async def test_claims_that_are_wrong_are_refused(tokens: JsonWebTokens, claims: dict[str, Any], text: str) -> None:
    assert text in refusal(tokens, token_of(**claims))


async def test_no_signature_and_no_shared_secret_will_do(tokens: JsonWebTokens) -> None:
    header, claims, _ = token_of().split(".")
    body = json.loads(jwt.utils.base64url_decode(claims.encode()))
    for none in ("none", "None", "NONE", "nOnE"):
        unsigned = f"{part({'alg': none, 'kid': 'rsa'})}.{claims}."
        assert "this hub takes RS256, PS256, ES256, EdDSA" in refusal(tokens, unsigned)
    assert "signature is wrong" in refusal(tokens, f"{header}.{claims}.")
    # The public key as the secret of an HMAC, in each form that it has.
    public = private_key("rsa").public_key()
    for key in (
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1),
        json.dumps(jwk_of("rsa")).encode(),
    ):
        for name in ("HS256", "RS256"):
            begin = f"{part({'alg': name, 'kid': 'rsa'})}.{part(body)}"
            signed = f"{begin}.{part(hmac.digest(key, begin.encode(), hashlib.sha256))}"
            assert refusal(tokens, signed)


async def test_a_token_is_checked_with_the_key_that_it_names_and_as_that_key_s_kind(tokens: JsonWebTokens) -> None:
    assert "signature is wrong" in refusal(tokens, token_of("rsa", kid="rsa-2"))
    assert "signed with RS256, for which its key is not" in refusal(tokens, token_of("rsa", kid="ec"))
    assert "signed with EdDSA, for which its key is not" in refusal(tokens, token_of("ed", kid="ec"))
    assert "does not say which" in refusal(tokens, token_of("rsa", kid=""))
    assert "'other', which its issuer does not have" in refusal(tokens, token_of("rsa", kid="other"))
    # A key that comes with the token, or that it says where to get, is not looked at.
    assert "issuer does not have" in refusal(tokens, token_of("rsa-x", kid="x", header={"jwk": jwk_of("rsa-x")}))
    assert "signature is wrong" in refusal(tokens, token_of("rsa-x", kid="rsa", header={"jku": "https://evil.example"}))
    assert refusal(tokens, token_of(header={"crit": ["x"], "x": 1}))


async def test_a_changed_token_is_refused(tokens: JsonWebTokens) -> None:
    header, claims, signature = token_of().split(".")
    body = json.loads(jwt.utils.base64url_decode(claims.encode()))
    assert "signature is wrong" in refusal(tokens, f"{header}.{part({**body, 'sub': 'root'})}.{signature}")


@pytest.mark.parametrize(
    "token",
    [
        "..",
        "a.b.c",
        f"{part([])}.{part({})}.x",
        f"{part({'alg': 5})}.{part({})}.x",
        f"{part({'alg': ['RS256']})}.{part({})}.x",
        f"{part({'alg': 'RS256', 'kid': 5})}.{part({})}.x",
        f"{part(b'[' * 6_000)}.{part({})}.x",
        f"{part({'alg': 'RS256', 'kid': 'rsa'})}.{part(b'[' * 6_000)}.x",
        "é.ü.ß",
        "\x00.\x00.\x00",
    ],
)
async def test_what_cannot_be_read_is_refused(tokens: JsonWebTokens, token: str) -> None:
    assert refusal(tokens, token)


async def test_a_verified_token_is_not_verified_again_until_it_expires_or_the_keys_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watched_file, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(json_web_tokens, "MAX_VERIFIED", 2)
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks_of("rsa"))
    tokens = JsonWebTokens(settings_of(path))
    await tokens.start()
    token = token_of().encode()
    verified = tokens.principal_of(token)
    assert tokens.principal_of(token) is verified
    for name in ("a", "b"):
        tokens.principal_of(token_of(sub=name).encode())
    assert tokens.principal_of(token) is not verified
    with monkeypatch.context() as later:
        later.setattr("time.time", lambda: 4e9)
        assert "has expired" in refusal(tokens, token)
    path.write_bytes(jwks_of("rsa-2"))
    assert "issuer does not have" in refusal(tokens, token)
    path.write_bytes(b"{}")
    assert tokens.principal_of(token_of("rsa-2").encode())


async def test_keys_at_a_url_are_fetched_again_for_a_key_that_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_source, "MIN_FETCH_SECONDS", 0.01)
    with KeyServer.serving(jwks_of("rsa")) as server:
        tokens = JsonWebTokens(settings_of(server.url))
        await tokens.start()
        try:
            assert tokens.principal_of(token_of().encode())
            server.body = jwks_of("rsa-2")
            with pytest.raises(UnavailableError, match="are being fetched; try again") as caught:
                tokens.principal_of(token_of("rsa-2").encode())
            assert caught.value.retryable
            await until(lambda: server.asked > 1 and knows(tokens, "rsa-2"))
            assert "issuer does not have" in await in_the_end(tokens, token_of("rsa"))
            asked = server.asked
            # It is not asked again for a key that it does not have.
            assert [refusal(tokens, token_of("rsa")) for _ in range(50)]
            assert server.asked == asked
            # Without it, the keys stay in force.
            server.status = 500
            with pytest.raises(UnavailableError):
                tokens.principal_of(token_of("ec").encode())
            await until(lambda: server.asked > asked)
            assert knows(tokens, "rsa-2")
        finally:
            await tokens.aclose()


async def test_a_hub_whose_keys_cannot_be_fetched_says_so_and_gets_them_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_source, "MIN_FETCH_SECONDS", 0.01)
    with KeyServer.serving(jwks_of("rsa")) as server:
        # It follows no redirect, which could lead to http.
        server.status = 302
        tokens = JsonWebTokens(settings_of(server.url))
        await tokens.start()
        try:
            with pytest.raises(UnavailableError):
                tokens.principal_of(token_of().encode())
            await until(lambda: knows(tokens, "rsa"))
        finally:
            await tokens.aclose()


def knows(tokens: JsonWebTokens, key: str) -> bool:
    try:
        return tokens.principal_of(token_of(key).encode()) is not None
    except UnavailableError:
        return False


async def in_the_end(tokens: JsonWebTokens, token: str) -> str:
    found: list[str] = []

    def refused() -> bool:
        try:
            tokens.principal_of(token.encode())
        except AccessError as error:
            found.append(error.message)
        except UnavailableError:
            return False
        return bool(found)

    await until(refused)
    return found[-1]


@pytest.mark.parametrize(
    "keys",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": [1, null, "x"]}',
        b'{"keys": []}',
        b"[" * 100_000,
        json.dumps({"keys": [{"kty": "oct", "k": "AAAA", "kid": "a"}]}).encode(),
        json.dumps({"keys": [jwk_of("rsa", use="enc")]}).encode(),
        json.dumps({"keys": [jwk_of("rsa", alg="RS384")]}).encode(),
        json.dumps({"keys": [jwk_of("rsa-short")]}).encode(),
        json.dumps({"keys": [{"kty": "RSA", "n": "!", "e": "AQAB"}]}).encode(),
        json.dumps({"keys": [{**jwk_of("ec"), "x": "AAAA"}]}).encode(),
        json.dumps({"keys": [jwk_of("ec")] * 1_001}).encode(),
    ],
)
def test_keys_that_cannot_be_used_are_refused(keys: bytes) -> None:
    with pytest.raises(ValueError, match=r"key|JSON|object"):
        read_keys(keys, ("RS256", "ES256", "EdDSA"))


def test_settings_take_no_algorithm_with_a_shared_secret_and_no_keys_over_http() -> None:
    for wrong in (["none"], ["HS256"], ["RS256", "HS512"], []):
        with pytest.raises(ValueError, match="cannot be used to sign tokens"):
            signing_algorithms(wrong)
    for url in ("http://issuer.example/keys", "ftp://issuer.example", "https://", "http://127.0.0.1.evil.example/"):
        with pytest.raises(ValueError, match="over http, others could change the keys"):
            settings_of(url)
    for url in ("https://issuer.example/keys", "http://127.0.0.1:1/keys", "http://[::1]/keys", "http://localhost/"):
        assert settings_of(url).jwt_keys == url
    with pytest.raises(ValueError, match="jwt_audience and jwt_keys not set"):
        Settings(jwt_issuer=ISSUER)
