"""Every attack on tokens, over the wire, on a service of each configuration.

`pytest -rA tests/shared/auth/test_token_attacks.py` prints the table: target, attack, answer.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from grpc_status import rpc_status

from shared.auth.keys import public_key, thumbprint
from shared.grpc_server.status import error_info
from shared.settings import SecretStr, Settings
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tandem.agent.v1.auth_service_pb2_grpc import AuthServiceStub
from tests.issuer import KEYS, Issuer, issuing, private_pem, public_pem, published
from tests.shared.auth.attacks import Target, attacks
from tests.world import SECRET, World

OWN_KEY = ec.generate_private_key(ec.SECP256R1())
OWN = SecretStr(private_pem(OWN_KEY))


@dataclass(frozen=True)
class Configuration:
    """What a service trusts: a secret, a public key, or what is published."""

    algorithm: str
    published: bool = False

    def settings(self, url: str) -> dict[str, Any]:
        if self.algorithm == "HS256":
            return {"jwt_secret": SECRET}
        if self.published:
            return {"jwt_jwks_url": url, "jwt_private_key": OWN}
        return {"jwt_public_key": public_pem(KEYS[self.algorithm]), "jwt_private_key": OWN}


CONFIGURATIONS = {
    "secret": Configuration("HS256"),
    **{f"public key {algorithm}": Configuration(algorithm) for algorithm in KEYS},
    **{f"JWKS {algorithm}": Configuration(algorithm, published=True) for algorithm in KEYS},
}


@asynccontextmanager
async def attacked(
    configuration: Configuration, world: World, stranger: Issuer
) -> AsyncIterator[tuple[Target, grpc.aio.Channel]]:
    """A service with a user and an agent, and the way to it."""
    async with AsyncExitStack() as stack:
        # `world` makes the agent; the services that are attacked have another configuration.
        alice = await world.user()
        scout = await alice.agent(await alice.project())
        issuer = stack.enter_context(issuing())
        issuer.publish(*(published(algorithm, f"kid {algorithm}") for algorithm in KEYS))
        changed = Settings(**configuration.settings(issuer.url))
        target = await stack.enter_async_context(World.built(world.database, changed))
        hashed = configuration.algorithm == "HS256"
        own = public_key(OWN_KEY.public_key())
        assert own
        yield (
            Target(
                algorithm=configuration.algorithm,
                key=SECRET.get_secret_value() if hashed else KEYS[configuration.algorithm],
                kid=f"kid {configuration.algorithm}" if configuration.published else None,
                own_key=OWN_KEY,
                own_kid=thumbprint(own),
                user=alice.id,
                agent=UUID(scout.id),
                strangers_url=stranger.url,
            ),
            target.channels.agents,
        )


async def answer(channel: grpc.aio.Channel, *metadata: tuple[str, str | bytes]) -> str:
    """OK, the reason of the refusal, or the code of one that is gRPC's own."""
    try:
        await AuthServiceStub(channel).WhoAmI(WhoAmIRequest(), metadata=metadata, timeout=20)
    except grpc.aio.AioRpcError as error:
        if any(value and str(value) in str(error.details()) for _, value in metadata):
            return "its own words"
        status = rpc_status.from_call(error)  # type: ignore[arg-type]
        info = error_info(status) if status else None
        return info.reason if info else error.code().name
    return "OK"


@pytest.mark.parametrize("name", CONFIGURATIONS)
async def test_each_attack_has_its_answer(world: World, name: str) -> None:
    configuration = CONFIGURATIONS[name]
    table = attacks(configuration.algorithm)
    with issuing() as stranger:
        async with attacked(configuration, world, stranger) as (target, channel):
            assert await answer(channel, ("authorization", f"Bearer {target.good()}")) == "OK"
            found = {
                attack: await answer(channel, ("authorization", f"Bearer {make(target)}"))
                for attack, (make, _) in table.items()
            }
        assert stranger.paths == []
    for attack, answered in found.items():
        sys.stdout.write(f"{name:18} | {attack:45} | {answered}\n")
    assert found == {attack: wanted for attack, (_, wanted) in table.items()}


async def test_our_own_key_says_who_is_an_agent(world: World) -> None:
    for configuration in CONFIGURATIONS.values():
        if configuration.algorithm == "HS256":
            continue
        with issuing() as stranger:
            async with attacked(configuration, world, stranger) as (target, channel):
                token = target.signed(
                    {"alg": "ES256", "kid": target.own_kid},
                    target.claims(typ="agent", sub=str(target.agent)),
                    key=OWN_KEY,
                    algorithm="ES256",
                )
                assert await answer(channel, ("authorization", f"Bearer {token}")) == "OK"


async def test_metadata_is_read_in_one_way_only(world: World) -> None:
    alice = await world.user()
    good = str(alice.token)
    bearer = ("authorization", f"Bearer {good}")
    table: dict[str, tuple[list[tuple[str, str | bytes]], str]] = {
        "none": ([], "TOKEN_MISSING"),
        "another name": ([("x-authorization", f"Bearer {good}")], "TOKEN_MISSING"),
        "binary": ([("authorization-bin", f"Bearer {good}".encode())], "TOKEN_MISSING"),
        "twice the same": ([bearer, bearer], "TOKEN_INVALID"),
        "two, the first good": ([bearer, ("authorization", "Bearer x")], "TOKEN_INVALID"),
        "two, the last good": ([("authorization", ""), bearer], "TOKEN_INVALID"),
        "two in one": ([("authorization", f"Bearer {good}, Bearer {good}")], "TOKEN_INVALID"),
        "lower case": ([("authorization", f"bearer {good}")], "OK"),
        "upper case": ([("authorization", f"BEARER {good}")], "OK"),
        "more spaces": ([("authorization", f"Bearer   {good} ")], "OK"),
        "a space before": ([("authorization", f" Bearer {good}")], "TOKEN_INVALID"),
        "a space within": ([("authorization", f"Bearer {good[:9]} {good[9:]}")], "TOKEN_INVALID"),
        "no scheme": ([("authorization", good)], "TOKEN_INVALID"),
        "another scheme": ([("authorization", f"Basic {good}")], "TOKEN_INVALID"),
        "the scheme alone": ([("authorization", "Bearer ")], "TOKEN_INVALID"),
        "nothing": ([("authorization", "")], "TOKEN_INVALID"),
        "8 KiB and more": ([("authorization", f"Bearer {'x' * 8192}")], "TOKEN_INVALID"),
        "64 KiB": ([("authorization", f"Bearer {'x' * 65536}")], "RESOURCE_EXHAUSTED"),
    }
    channel = world.channels.agents
    found = {name: await answer(channel, *metadata) for name, (metadata, _) in table.items()}
    for name, answered in found.items():
        sys.stdout.write(f"{'metadata':18} | {name:45} | {answered}\n")
    assert found == {name: wanted for name, (_, wanted) in table.items()}
