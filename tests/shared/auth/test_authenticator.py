"""Tokens that are let in, and those that are not."""

import asyncio
import time
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

from shared.auth.authenticator import Authenticator
from shared.auth.issuers import issuers
from shared.auth.key_sources import key_ring, page_key
from shared.auth.keys import signing_key
from shared.auth.signing import sign_agent_token
from shared.auth.verifier import Verifier
from shared.database.transaction import Database
from shared.errors import Reason, Refusal
from shared.settings import SecretStr, Settings, SettingsError
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceStub
from tests.issuer import ALICE, KEYS, claims, private_pem, public_pem, token
from tests.refusals import refused
from tests.shared.auth.attacks import STRANGERS_KEYS
from tests.world import SECRET, World

PRIVATE = SecretStr(private_pem(KEYS["EdDSA"]))
LOCKED = SecretStr(
    KEYS["EdDSA"]
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"a password"))
    .decode()
)


def signed(**changes: Any) -> str:
    return jwt.encode(claims(**changes), SECRET.get_secret_value(), algorithm="HS256")


def pem(name: str) -> str:
    return public_pem(KEYS[name])


def private(name: str, keys: dict[str, Any] = KEYS) -> SecretStr:
    return SecretStr(private_pem(keys[name]))


@pytest.fixture
async def alice(world: World) -> UUID:
    await world.execute(
        "INSERT INTO users (id, username, email) VALUES ($1, 'alice', 'a@example.com')", ALICE
    )
    return ALICE


def authenticator(database: Database, **settings: Any) -> Authenticator:
    configured = Settings(**settings)
    return Authenticator(database, Verifier(issuers(configured)))


async def reason(database: Database, authorization: str) -> str:
    """OK, or the reason of the refusal."""
    try:
        await authenticator(database, jwt_secret=SECRET).authenticate([authorization])
    except Refusal as refusal:
        return refusal.reason.name
    return "OK"


@pytest.mark.usefixtures("alice")
@pytest.mark.parametrize("token", ["\xe9.\xe9.\xe9", "\ud800.a.b", "a.b.c", "a", ""])
async def test_what_is_no_token_proves_nothing(world: World, token: str) -> None:
    assert await reason(world.database, f"Bearer {signed()}") == "OK"
    assert await reason(world.database, f"Bearer {token}") == "TOKEN_INVALID"


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


async def kind(token: str, **settings: Any) -> str:
    """The caller that a token names, or the reason of the refusal."""
    verifier = Verifier(issuers(Settings(**settings)))
    try:
        return (await verifier.verify(token)).kind
    except Refusal as refusal:
        return refusal.reason.name


def agents_token(**settings: Any) -> str:
    """What the agent service gives for an API key."""
    configured = Settings(**settings)
    key = signing_key(configured)
    assert key
    end = int(time.time()) + 60
    return sign_agent_token(configured, key, ALICE, ALICE, ALICE, ["search"], end)


@pytest.mark.parametrize("algorithm", KEYS)
async def test_our_own_key_is_for_agents_beside_the_issuer_s(algorithm: str) -> None:
    issuer, own = {"jwt_public_key": pem("ES256")}, private(algorithm, STRANGERS_KEYS)
    both = {**issuer, "jwt_private_key": own}
    assert await kind(agents_token(**both), **both) == "agent"
    assert await kind(agents_token(**both), **issuer) == "TOKEN_INVALID"
    assert await kind(token("ES256", None), **both) == "user"
    assert await kind(token("ES256", "any name"), **both) == "user"


@pytest.mark.parametrize("algorithm", KEYS)
async def test_one_pair_may_be_for_users_and_agents(algorithm: str) -> None:
    public = {"jwt_public_key": pem(algorithm)}
    both = {**public, "jwt_private_key": private(algorithm)}
    given = agents_token(**both)
    users = token(algorithm, jwt.get_unverified_header(given)["kid"])
    for settings in (both, public):
        assert await kind(given, **settings) == "agent"
        assert await kind(users, **settings) == "user"


def test_page_tokens_are_signed_with_what_all_processes_share() -> None:
    own, url = private("ES256"), "https://issuer.example/keys"
    configurations: list[dict[str, Any]] = [
        {"jwt_secret": SECRET},
        {"jwt_public_key": pem("RS256")},
        {"jwt_jwks_url": url},
        {"jwt_jwks_url": url, "jwt_private_key": own},
    ]
    keys = [page_key(Settings(**settings)) for settings in configurations]
    assert keys == [page_key(Settings(**settings)) for settings in configurations]
    assert len({key for key in keys if key}) == len(configurations)


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


async def test_no_authorization_is_said_so(world: World) -> None:
    found = await refused(world.nobody().auth.WhoAmI(WhoAmIRequest()), Reason.TOKEN_MISSING)
    assert "Bearer" in found.message
