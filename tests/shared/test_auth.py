"""Tokens that are let in, and those that are not."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from pydantic import SecretStr

from shared.auth import Authenticator
from shared.claims import Verifier
from shared.database import Database
from shared.errors import Reason, Refusal
from shared.key_ring import key_ring
from shared.settings import Settings, SettingsError
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceStub
from tests.issuer import ALICE, KEYS, claims, private_pem, public_pem
from tests.refusals import refused
from tests.world import SECRET, World

PRIVATE = SecretStr(private_pem(KEYS["EdDSA"]))
LOCKED = SecretStr(
    KEYS["EdDSA"]
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a password"))
    .decode()
)
Authenticate = Callable[..., Awaitable[UUID]]


def signed(secret: str = "", **changes: Any) -> str:
    return jwt.encode(claims(**changes), secret or SECRET.get_secret_value(), algorithm="HS256")


def pem(name: str) -> str:
    return public_pem(KEYS[name])


def by_hand(header: dict[str, Any] | str, payload: dict[str, Any] | str, signature: bytes) -> str:
    """A token that no library would make."""
    parts = [part if isinstance(part, str) else json.dumps(part) for part in (header, payload)]
    raw = [*(part.encode() for part in parts), signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in raw)


@pytest.fixture
async def alice(database: Database) -> UUID:
    await database.read(
        lambda c: c.execute(
            "INSERT INTO users (id, username, email) VALUES ($1, 'alice', 'a@example.com')", ALICE
        )
    )
    return ALICE


def authenticator(database: Database, **settings: Any) -> Authenticator:
    configured = Settings(**settings)
    return Authenticator(database, Verifier(configured, key_ring(configured)))


async def reason(database: Database, authorization: str, **settings: Any) -> str:
    """OK, or the reason of the refusal. The refusal never repeats the token."""
    settings = settings or {"jwt_secret": SECRET}
    try:
        await authenticator(database, **settings).authenticate([authorization])
    except Refusal as refusal:
        assert len(authorization) < 8 or authorization[7:] not in str(refusal)  # noqa: PT017
        return refusal.reason.name
    return "OK"


@pytest.mark.usefixtures("alice")
async def test_a_good_token_proves_its_user(database: Database) -> None:
    for scheme in ("Bearer", "bearer", "BEARER"):
        assert await reason(database, f"{scheme} {signed()}") == "OK"


WRONG: dict[str, tuple[str, str]] = {
    "expired": ("TOKEN_EXPIRED", signed(exp=int(time.time()) - 1)),
    "another key": ("TOKEN_INVALID", signed("another secret that is long enough, too")),
    "another issuer": ("TOKEN_INVALID", signed(iss="else")),
    "another audience": ("TOKEN_INVALID", signed(aud="else")),
    "several audiences": ("TOKEN_INVALID", signed(aud=["else", "other"])),
    "a caller of no kind": ("TOKEN_INVALID", signed(typ="robot")),
    "a user's with an API key": ("TOKEN_INVALID", signed(api_key_id=str(ALICE))),
    "of no kind": ("TOKEN_INVALID", signed(typ=["user"])),
    "issued in the future": ("TOKEN_INVALID", signed(iat=int(time.time()) + 3600)),
    "not valid yet": ("TOKEN_INVALID", signed(nbf=int(time.time()) + 3600)),
    "subject is no id": ("TOKEN_INVALID", signed(sub="alice")),
    "expiry is no number": ("TOKEN_INVALID", signed(exp="soon")),
    "expires after the year 9999": ("TOKEN_INVALID", signed(exp=253_402_300_800)),
    "expires beyond what an int64 says": ("TOKEN_INVALID", signed(exp=2**63)),
    "unknown user": ("CALLER_INACTIVE", signed(sub=str(UUID(int=2)))),
    **{
        f"without {name}": ("TOKEN_INVALID", signed("", **{name: None}))
        for name in ("iss", "aud", "sub", "exp", "iat", "typ")
    },
    "alg none": ("TOKEN_INVALID", by_hand({"alg": "none", "typ": "JWT"}, claims(), b"")),
    "another algorithm": (
        "TOKEN_INVALID",
        jwt.encode(claims(), SECRET.get_secret_value() * 2, algorithm="HS512"),
    ),
    "subject is a number": ("TOKEN_INVALID", by_hand({"alg": "HS256"}, claims(sub=1), b"x")),
    "no JSON": ("TOKEN_INVALID", by_hand({"alg": "HS256"}, "[", b"x")),
    "a list": ("TOKEN_INVALID", by_hand("[]", "[]", b"x")),
    "too deep": ("TOKEN_INVALID", by_hand("[" * 5000, "", b"")),
    "cut": ("TOKEN_INVALID", signed()[:-5]),
    "garbage": ("TOKEN_INVALID", "garbage"),
    "dots": ("TOKEN_INVALID", ".."),
    "nothing": ("TOKEN_INVALID", ""),
    "too long": ("TOKEN_INVALID", signed(more="x" * 8192)),
    "not ASCII": ("TOKEN_INVALID", "é.é.é"),
}


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize("name", WRONG)
async def test_a_wrong_token_proves_nothing(database: Database, name: str) -> None:
    wanted, token = WRONG[name]
    assert await reason(database, f"Bearer {token}") == wanted


@pytest.mark.usefixtures("alice")
async def test_another_scheme_is_none(database: Database) -> None:
    for value in (signed(), f"Basic {signed()}", f"Bearer{signed()}", "Bearer", "Bearer "):
        assert await reason(database, value) == "TOKEN_INVALID"


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_public_key_fixes_the_algorithm(database: Database, algorithm: str) -> None:
    setting = {"jwt_public_key": pem(algorithm)}
    for other, key in KEYS.items():
        token = jwt.encode(claims(), key, algorithm=other)
        wanted = "OK" if other == algorithm else "TOKEN_INVALID"
        assert await reason(database, f"Bearer {token}", **setting) == wanted
    good = jwt.encode(claims(), KEYS[algorithm], algorithm=algorithm)
    header, _, signature = good.split(".")
    other_payload = by_hand("", claims(sub=str(UUID(int=2))), b"").split(".")[1]
    assert await reason(database, f"Bearer {header}.{other_payload}.{signature}", **setting) == (
        "TOKEN_INVALID"
    )


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize("algorithm", KEYS)
async def test_a_public_key_is_no_secret(database: Database, algorithm: str) -> None:
    """The classic: HS256 with what everybody knows, the public key, as the secret."""
    public = pem(algorithm)
    for secret in (public, public.strip(), public.replace("\n", "\r\n")):
        unsigned = by_hand({"alg": "HS256", "typ": "JWT"}, claims(), b"").rstrip(".")
        digest = hmac.digest(secret.encode(), unsigned.encode(), hashlib.sha256)
        token = f"{unsigned}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
        assert await reason(database, f"Bearer {token}", jwt_public_key=public) == "TOKEN_INVALID"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"jwt_secret": SECRET, "jwt_public_key": pem("RS256")},
        {"jwt_secret": SECRET, "jwt_jwks_url": "https://issuer.example/keys"},
        {"jwt_public_key": pem("RS256"), "jwt_jwks_url": "https://issuer.example/keys"},
        {"jwt_secret": SECRET, "jwt_private_key": PRIVATE},
        {"jwt_private_key": PRIVATE},
        {"jwt_public_key": pem("RS256"), "jwt_private_key": SecretStr("no key at all")},
        {"jwt_public_key": pem("RS256"), "jwt_private_key": SecretStr(pem("RS256"))},
        {"jwt_public_key": pem("RS256"), "jwt_private_key": LOCKED},
        {"jwt_public_key": private_pem(KEYS["RS256"])},
        {"jwt_public_key": "no key at all"},
        {"jwt_public_key": pem("RS256")[:200]},
    ],
)
def test_a_key_of_no_use_keeps_a_service_from_starting(settings: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="TANDEM_JWT_") as raised:
        key_ring(Settings(**settings))
    for value in settings.values():
        secret = value.get_secret_value() if isinstance(value, SecretStr) else value
        assert secret not in str(raised.value)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(public_exponent=65537, key_size=1024),  # noqa: S505
        ec.generate_private_key(ec.SECP384R1()),
    ],
    ids=["short RSA", "P-384"],
)
def test_a_weak_or_unknown_key_is_of_no_use(key: Any) -> None:
    with pytest.raises(SettingsError, match="TANDEM_JWT_PUBLIC_KEY"):
        key_ring(Settings(jwt_public_key=public_pem(key)))
    private = SecretStr(private_pem(key))
    with pytest.raises(SettingsError, match="TANDEM_JWT_PRIVATE_KEY"):
        key_ring(Settings(jwt_public_key=pem("ES256"), jwt_private_key=private))


async def test_a_token_ends_while_it_is_remembered(world: World) -> None:
    alice = await world.user()
    until = int(time.time()) + 2
    token = signed(sub=str(alice.id), exp=until)
    call = AuthServiceStub(world.channels.agents).WhoAmI
    metadata = (("authorization", f"Bearer {token}"),)
    await call(WhoAmIRequest(), metadata=metadata)
    await asyncio.sleep(until - time.time() + 0.01)
    await refused(call(WhoAmIRequest(), metadata=metadata), Reason.TOKEN_EXPIRED)


async def test_a_user_who_is_deactivated_is_out_within_two_seconds(world: World) -> None:
    alice = await world.user()
    await alice.auth.WhoAmI(WhoAmIRequest())
    await world.execute("UPDATE users SET is_active = false")
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            await alice.auth.WhoAmI(WhoAmIRequest())
        except grpc.aio.AioRpcError:
            break
        await asyncio.sleep(0.1)
    await refused(alice.auth.WhoAmI(WhoAmIRequest()), Reason.CALLER_INACTIVE)


async def test_two_authorizations_are_none(world: World) -> None:
    alice = await world.user()
    bearer = ("authorization", f"Bearer {alice.token}")
    call = AuthServiceStub(world.channels.agents).WhoAmI
    for metadata in ((bearer, bearer), (bearer, ("authorization", "Bearer x"))):
        found = await refused(call(WhoAmIRequest(), metadata=metadata), Reason.TOKEN_INVALID)
        assert str(alice.token) not in found.message


async def test_no_authorization_is_said_so(world: World) -> None:
    found = await refused(world.nobody().auth.WhoAmI(WhoAmIRequest()), Reason.TOKEN_MISSING)
    assert "Bearer" in found.message
