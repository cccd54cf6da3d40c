"""How many streams authenticated callers can have, and that these are counted by themselves."""

import pytest

from shared.errors import Reason
from shared.grpc_server import watches
from shared.grpc_server.admission import STREAMS_PER_CONNECTION
from shared.grpc_server.watches import WATCHES_PER_CALLER
from tandem.agent.v1.auth_service_pb2 import WhoAmIRequest
from tandem.task.v1.task_service_pb2 import ListTasksRequest
from task_service.__main__ import build
from tests.refusals import refused
from tests.task_service.events.watched import Watched, add, log_of
from tests.waiting import until
from tests.world import Channels, Client, World, running


async def test_a_caller_can_have_20_streams_on_one_connection(world: World) -> None:
    assert WATCHES_PER_CALLER == 20 > STREAMS_PER_CONNECTION
    alice, project = await log_of(world, 1)
    bob = await world.user()
    await world.member(project.id, bob, "viewer")
    open_now = [Watched(alice, project.id) for _ in range(20)]
    for each in open_now:
        await each.read()
    one_more = Watched(alice, project.id)
    found = await refused(one_more.end(), Reason.LIMIT_EXCEEDED)
    assert found.details["RetryInfo"].retry_delay.seconds == 10
    await alice.tasks.ListTasks(ListTasksRequest(project_id=project.id))
    others = Watched(bob, project.id)
    await others.read()
    others.leave()
    open_now.pop().leave()

    async def has_room() -> bool:
        again = Watched(alice, project.id)
        try:
            await again.read()
        except Exception:
            return False
        open_now.append(again)
        return True

    await until(has_room)
    for each in open_now:
        each.leave()


async def test_a_process_has_a_limit_of_streams_and_calls_go_on(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert watches.MAXIMUM_WATCHES == 1000
    monkeypatch.setattr(watches, "MAXIMUM_WATCHES", 2)
    alice, project = await log_of(world, 1)
    bob = await world.user()
    await world.member(project.id, bob, "viewer")
    open_now = [Watched(alice, project.id) for _ in range(2)]
    for each in open_now:
        await each.read()
    await refused(Watched(bob, project.id).end(), Reason.LIMIT_EXCEEDED)
    await bob.auth.WhoAmI(WhoAmIRequest())
    for each in open_now:
        each.leave()


async def test_streams_are_no_calls_at_work_and_leave_nothing_behind(world: World) -> None:
    alice, project = await log_of(world, 1)
    server = build(world.database, world.settings)
    async with running(server) as (channel, _):
        edge = server._interceptor
        free = edge._places.free, edge._probes.free, edge._streams._of_hosts.free
        client = Client(Channels(channel, channel), alice.token)
        open_now = [Watched(client, project.id) for _ in range(5)]
        for each in open_now:
            await each.read()
        assert (edge._places.free, edge._probes.free, edge._streams._of_hosts.free) == free
        assert edge._places.held == edge._probes.held == {}
        assert edge._watches.held == {alice.id: 5}
        assert not edge._callers, "they do not wait for their clients, but for news"
        await add(world, project)
        for each in open_now:
            await each.until(2)
            each.leave()
        await until(lambda: not edge._watches.held)
        assert len(edge._watches) == 0
