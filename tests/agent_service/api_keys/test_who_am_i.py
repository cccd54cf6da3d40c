"""Who calls."""

from datetime import timedelta

from tandem.agent.v1.auth_service_pb2 import CALLER_TYPE_USER, User, WhoAmIRequest
from tandem.agent.v1.user_service_pb2 import GetUserRequest
from tests.world import World


async def test_a_user_is_told_who_they_are(world: World) -> None:
    root = await world.user("root", superuser=True)
    await world.execute("UPDATE users SET full_name = 'Charlie Root'")
    found = await root.auth.WhoAmI(WhoAmIRequest())
    assert (found.caller_type, found.caller_id) == (CALLER_TYPE_USER, str(root.id))
    assert found.user == User(
        id=str(root.id),
        username="root",
        email="root@example.com",
        full_name="Charlie Root",
        is_superuser=True,
        is_active=True,
        created_at=await world.value("SELECT created_at FROM users"),
        updated_at=await world.value("SELECT updated_at FROM users"),
        revision=1,
    )
    assert found.user == await root.users.GetUser(GetUserRequest(user_id=str(root.id)))
    now = await world.value("SELECT now()::timestamp")
    left = found.token_expires_at.ToDatetime() - now
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
    assert not found.project_id


async def test_a_user_without_a_full_name_has_none(world: World) -> None:
    alice = await world.user()
    assert not (await alice.auth.WhoAmI(WhoAmIRequest())).user.HasField("full_name")
