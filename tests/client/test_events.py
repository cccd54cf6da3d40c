"""Watches, lists of events and waits of both clients, against the real services."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tandem.agent.v1.auth_service_pb2 import API_KEY_SCOPE_READ_PROJECT, RevokeApiKeyRequest
from tandem.agent.v1.project_service_pb2 import Project
from tandem.event.v1.event_service_pb2 import ListEventsRequest, WatchEventsRequest
from tandem.task.v1.task_service_pb2 import (
    TASK_STATUS_CANCELLED,
    TASK_STATUS_PENDING,
    UpdateTaskStatusRequest,
)
from tandem_client import ApiKey, Batch, Tandem, TandemError, Token
from tests.client.test_services import connected, in_threads, token_of
from tests.client.wire import Wire
from tests.events.recording import Recording, record
from tests.events.validator import logged, violations
from tests.waiting import SECONDS, until
from tests.world import User, World


class Watched:
    """A watch of a whole project that goes on beside the test."""

    def __init__(self, tandem: Tandem, project: Project, **how: Any) -> None:
        self.recording = Recording()
        self.given: list[int] = []
        record(tandem, self.recording)
        request = WatchEventsRequest(project_id=project.id, after_sequence=0)
        self.task = asyncio.create_task(self._loop(tandem, request, how))

    async def _loop(self, tandem: Tandem, request: WatchEventsRequest, how: Any) -> None:
        async for batch in tandem.watch(request, **how):
            self.given += [event.sequence for event in batch.events]

    async def has(self, last: int) -> None:
        """Every event up to the last one has come, once; then it ends."""
        await until(lambda: self.given[-1:] == [last] or self.task.done())
        self.task.cancel()
        await asyncio.wait([self.task])
        assert self.given == list(range(1, last + 1))


async def test_a_watch_goes_on_when_its_connection_is_cut(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    async with (
        Wire.before(world.settings.task_address) as wire,
        connected(world, token_of(alice), task_address=wire.address) as tandem,
    ):
        watched = Watched(tandem, project)
        for number in range(2, 6):
            await alice.task(project)
            await until(lambda number=number: number in watched.given)  # type: ignore[misc]
            wire.cut()
        await watched.has(5)
    assert len(watched.recording.streams) >= 4
    log = await world.owner.read(lambda connection: logged(connection, project.id))
    assert violations(watched.recording, log) == []


async def test_a_watch_on_which_nothing_comes_is_begun_anew(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    async with (
        Wire.before(world.settings.task_address) as wire,
        connected(world, token_of(alice), task_address=wire.address) as tandem,
    ):
        watched = Watched(tandem, project, silence=0.1)
        await until(lambda: 1 in watched.given)
        wire.hold()
        await alice.task(project)
        streams = len(watched.recording.streams)
        await until(lambda: len(watched.recording.streams) >= streams + 3)
        assert wire.connections == 1
        wire.cut()
        await watched.has(2)


async def test_a_watch_renews_its_token(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    given = iter([world.token(alice.id, timedelta(seconds=3)), world.token(alice.id)])
    async with connected(world, Token(lambda: next(given))) as tandem:
        watched = Watched(tandem, project)
        await until(lambda: [s.end for s in watched.recording.streams] == ["UNAUTHENTICATED", ""])
        await alice.task(project)
        await watched.has(2)


async def test_a_watch_of_a_key_that_is_revoked_ends(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    key = await alice.api_key(await alice.agent(project), scopes=[API_KEY_SCOPE_READ_PROJECT])
    async with connected(world, ApiKey(key.secret)) as tandem:
        watched = Watched(tandem, project, gapless=True)
        await until(lambda: len(watched.given) == 3)
        await alice.auth.RevokeApiKey(RevokeApiKeyRequest(api_key_id=key.api_key.id))
        with pytest.raises(TandemError) as raised:
            await asyncio.wait_for(watched.task, SECONDS)
    assert raised.value.code.name in ("UNAUTHENTICATED", "PERMISSION_DENIED")


async def test_events_are_listed_page_by_page(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    for _ in range(6):
        await alice.task(project)
    async with connected(world, token_of(alice)) as tandem:
        request = ListEventsRequest(project_id=project.id, after_sequence=1, page_size=2)
        pages = tandem.pages(tandem.events.ListEvents, request)
        assert [event.sequence async for event in pages] == [2, 3, 4, 5, 6, 7]


async def test_the_end_of_a_task_is_waited_for(world: World) -> None:
    alice = await world.user()
    task = await alice.task(await alice.project())
    async with connected(world, token_of(alice)) as tandem:
        assert (await tandem.wait_task(task.id, seconds=0.0)).status == TASK_STATUS_PENDING
        assert await tandem.wait_task(task.id, revision=task.revision - 1) == task
        waited = asyncio.create_task(tandem.wait_task(task.id))
        await cancel(alice, task.id)
        assert (await waited).status == TASK_STATUS_CANCELLED


async def test_the_client_for_threads_does_the_same(world: World) -> None:
    alice = await world.user()
    project = await alice.project()
    task = await alice.task(project)

    def work() -> list[Batch]:
        with in_threads(world, token_of(alice)) as tandem:
            request = WatchEventsRequest(project_id=project.id, after_sequence=0)
            batches: list[Batch] = []
            for batch in tandem.watch(request):
                batches += [batch] if batch.events else []
                if len(batches) == 3:
                    break
            assert tandem.wait_task(task.id).status == TASK_STATUS_CANCELLED
        return batches

    worked = asyncio.create_task(asyncio.to_thread(work))
    await cancel(alice, task.id)
    assert [batch.through_sequence for batch in await worked] == [1, 2, 3]


async def cancel(user: User, task_id: str) -> None:
    request = UpdateTaskStatusRequest(task_id=task_id, status=TASK_STATUS_CANCELLED)
    await user.tasks.UpdateTaskStatus(request)
