"""Listing API keys."""

import re
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from agent_service.api_keys.queries import LIST
from shared.auth.access import Reach
from shared.errors import Reason
from shared.resources.pagination import Order
from tandem.agent.v1.auth_service_pb2 import (
    API_KEY_STATUS_ACTIVE,
    API_KEY_STATUS_EXPIRED,
    API_KEY_STATUS_REVOKED,
    ListApiKeysRequest,
)
from tests.agent_service.api_keys.holder import Holder
from tests.plans import plan_of
from tests.refusals import refused

# A key of one agent in each of many projects.
MANY = (
    "INSERT INTO projects (id, owner_id, slug, name) SELECT gen_random_uuid(),"
    " (SELECT id FROM users), n::text, 'Project' FROM generate_series(1, 5000) n",
    "INSERT INTO agents (id, project_id, name) SELECT id, id, 'Agent' FROM projects",
    "INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix)"
    " SELECT id, id, id, slug, slug, 'tdm' FROM projects",
)


async def test_keys_are_listed_by_page(holder: Holder) -> None:
    keys = [(await holder.create()).api_key for _ in range(5)]
    other = await holder.owner.agent(holder.project)
    await holder.create(agent_id=other.id)
    for order, wanted in (("created_at", keys), ("created_at desc", keys[::-1]), ("", keys[::-1])):
        request = ListApiKeysRequest(
            agent_id=holder.agent.id, page_size=2, order_by=order, include_total=True
        )
        found = []
        while True:
            page = await holder.owner.auth.ListApiKeys(request)
            assert (len(page.api_keys) <= 2, page.total_size) == (True, 5)
            found += page.api_keys
            request.page_token = page.next_page_token
            if not request.page_token:
                break
        assert found == wanted


async def test_a_list_shows_neither_secrets_nor_hashes(holder: Holder) -> None:
    secrets = [(await holder.create()).secret for _ in range(3)]
    hashes = await holder.world.value("SELECT array_agg(api_key_hash) FROM agent_api_keys")
    answer = await holder.owner.auth.ListApiKeys(ListApiKeysRequest(agent_id=holder.agent.id))
    shown = answer.SerializeToString() + str(answer).encode()
    assert all(key.key_prefix.encode() in shown for key in answer.api_keys)
    for text in (*hashes, *secrets, *(secret.split("_", 2)[2] for secret in secrets)):
        assert text.encode() not in shown


async def test_a_key_whose_time_is_over_is_expired(holder: Holder) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    keys = [(await holder.create(expires_at=tomorrow)).api_key for _ in range(4)]
    changes = ("expires_at = now()", "status = 'expired'", "status = 'revoked', expires_at = now()")
    for key, change in zip(keys, changes, strict=False):
        update = f"UPDATE agent_api_keys SET {change} WHERE id = $1"  # noqa: S608
        await holder.world.execute(update, UUID(key.id))
    expired = [API_KEY_STATUS_EXPIRED, API_KEY_STATUS_EXPIRED]
    assert [key.status for key in await holder.list()] == [
        *expired,
        API_KEY_STATUS_REVOKED,
        API_KEY_STATUS_ACTIVE,
    ]


async def test_a_key_of_a_user_who_is_gone_has_no_creator(holder: Holder) -> None:
    await holder.create()
    await holder.world.execute("UPDATE agent_api_keys SET created_by_id = NULL")
    assert not (await holder.list())[0].HasField("created_by_id")


async def test_an_agent_without_keys_has_an_empty_list(holder: Holder) -> None:
    answer = await holder.owner.auth.ListApiKeys(
        ListApiKeysRequest(agent_id=holder.agent.id, include_total=True)
    )
    assert (list(answer.api_keys), answer.next_page_token, answer.total_size) == ([], "", 0)


async def test_keys_of_a_suspended_project_are_listed(holder: Holder) -> None:
    key = (await holder.create()).api_key
    await holder.world.execute("UPDATE projects SET status = 'suspended'")
    assert await holder.list() == [key]


async def test_an_agent_that_does_not_exist_has_no_list(holder: Holder) -> None:
    nobody = str(uuid4())
    call = holder.owner.auth.ListApiKeys(ListApiKeysRequest(agent_id=nobody))
    assert (await refused(call, Reason.AGENT_NOT_FOUND)).metadata == {"agent_id": nobody}


async def test_a_stranger_sees_no_keys(holder: Holder) -> None:
    await holder.create()
    stranger, root = await holder.world.user(), await holder.world.user(superuser=True)
    request = ListApiKeysRequest(agent_id=holder.agent.id)
    await refused(stranger.auth.ListApiKeys(request), Reason.NOT_PROJECT_OWNER)
    assert len((await root.auth.ListApiKeys(request)).api_keys) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"page_size": -1}, Reason.INVALID_FIELD),
        ({"order_by": "key_id"}, Reason.INVALID_ORDER_BY),
        ({"page_token": "x"}, Reason.INVALID_PAGE_TOKEN),
    ],
)
async def test_what_a_list_cannot_be_asked_for(
    holder: Holder, fields: dict[str, object], reason: Reason
) -> None:
    request = ListApiKeysRequest(agent_id=holder.agent.id, **fields)  # type: ignore[arg-type]
    await refused(holder.owner.auth.ListApiKeys(request), reason)
    stranger = await holder.world.user()
    await refused(stranger.auth.ListApiKeys(request), Reason.NOT_PROJECT_OWNER)


async def test_a_page_token_is_of_one_agents_list(holder: Holder) -> None:
    for _ in range(2):
        await holder.create()
    request = ListApiKeysRequest(agent_id=holder.agent.id, page_size=1)
    request.page_token = (await holder.owner.auth.ListApiKeys(request)).next_page_token
    request.agent_id = (await holder.owner.agent(holder.project)).id
    await refused(holder.owner.auth.ListApiKeys(request), Reason.INVALID_PAGE_TOKEN)


async def test_a_list_is_served_by_its_index(holder: Holder) -> None:
    """The index begins with the project, which a list does not name."""
    for filling in MANY:
        await holder.world.execute(filling)
    await holder.world.execute("ANALYZE")
    newest = Order("created_at", descending=True)
    statement = LIST.page_statement(frozenset({"agent_id"}), newest, False, Reach.PROJECTS)
    shown = await plan_of(
        holder.world.database,
        statement,
        agent_id=UUID(holder.agent.id),
        superuser=False,
        caller_id=holder.owner.id,
        row_limit=51,
    )
    assert re.search(r"idx_agent_api_keys_agent_id.*\n *Index Cond: \(\(project_id = ", shown), (
        shown
    )
