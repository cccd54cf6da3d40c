"""Both clients by TLS: with the files of an operator, to both services."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from agent_service.__main__ import build as build_agents
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tandem.task.v1.task_service_pb2 import ListTasksRequest
from tandem_client import Retries, TandemError, Tls, Token, connect, sync
from task_service.__main__ import build as build_tasks
from tests.authority import HERE, Authority, written
from tests.tls import listening, of_client, of_port
from tests.world import World

AUTHORITY, OTHER = Authority(), Authority("another")
SCOUT = AUTHORITY.signs(x509.DNSName("scout.example.org"))
ONCE = Retries(attempts=1)
Addresses = dict[str, Any]


@pytest.fixture
async def addresses(world: World, tmp_path: Path) -> AsyncIterator[Addresses]:
    """Both services, which ask for certificates."""
    settings = replace(
        world.settings,
        **of_port("agent", tmp_path, AUTHORITY.signs(*HERE), AUTHORITY.pem),
        **of_port("task", tmp_path, AUTHORITY.signs(*HERE), AUTHORITY.pem),
        **of_client(tmp_path, AUTHORITY.pem, SCOUT),
    )
    async with listening(build_agents(world.database, settings)) as agents:
        settings = replace(settings, agent_address=agents)
        async with listening(build_tasks(world.database, settings)) as tasks:
            yield {"agent_address": agents, "task_address": tasks}


@pytest.fixture
def own(tmp_path: Path) -> dict[str, Path]:
    """The files of a client."""
    return {
        "ca": written(tmp_path / "ca.pem", AUTHORITY.pem),
        "certificate": written(tmp_path / "scout.pem", SCOUT.pem),
        "key": written(tmp_path / "scout.key", SCOUT.key_pem),
    }


async def test_both_clients_call_both_services(
    world: World, addresses: Addresses, own: dict[str, Any]
) -> None:
    alice = await world.user()
    options: Any = {**addresses, "credentials": Token(str(alice.token)), "tls": Tls(**own)}
    async with connect(**options) as tandem:
        assert (await tandem.auth.WhoAmI(WhoAmIRequest())).caller_id == str(alice.id)
        await tandem.tasks.ListTasks(ListTasksRequest())

    def in_a_thread() -> str:
        with sync.connect(**options) as tandem:
            tandem.tasks.ListTasks(ListTasksRequest())
            return tandem.auth.WhoAmI(WhoAmIRequest()).caller_id

    assert await asyncio.to_thread(in_a_thread) == str(alice.id)


@pytest.mark.parametrize("wrong", ["authority", "name", "nothing to prove"])
async def test_what_is_not_trusted_gets_no_token(
    world: World, addresses: Addresses, own: dict[str, Any], tmp_path: Path, wrong: str
) -> None:
    alice = await world.user()
    tls = {
        "authority": Tls(**{**own, "ca": written(tmp_path / "other.pem", OTHER.pem)}),
        "name": Tls(**own, server_name="agents.example.org"),
        "nothing to prove": Tls(own["ca"]),
    }[wrong]
    credentials = Token(str(alice.token))
    async with connect(**addresses, credentials=credentials, tls=tls, retries=ONCE) as tandem:
        with pytest.raises(TandemError) as raised:
            await tandem.auth.WhoAmI(WhoAmIRequest())
    assert raised.value.code is grpc.StatusCode.UNAVAILABLE


def test_half_a_pair_is_refused(own: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="belong together"):
        connect(tls=Tls(own["ca"], own["certificate"]))
