"""WatchEvents: each word of what a watch promises, where it begins, and what it sends."""

import asyncio
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.database.transaction import unavailable
from shared.errors import Code, Reason
from tandem.agent.v1.project_service_pb2 import DeleteProjectRequest, Project
from tandem.event.v1 import event_service_pb2 as pb
from tandem.task.v1.task_service_pb2 import Task, UpdateTaskRequest
from task_service.events import guard, hub, messages, queries, watching
from task_service.events.assembly import BATCH_EVENTS, RESPONSE_BYTES
from tests.events.recording import Recording
from tests.events.validator import logged, violations
from tests.refusals import refused
from tests.task_service.events.watched import Unread, Watched, add, log_of, task_named
from tests.waiting import until
from tests.world import User, World

COMPACT = """
WITH moved AS (UPDATE event_heads SET first = $2 WHERE project_id = $1)
DELETE FROM events WHERE project_id = $1 AND sequence < $2
"""
ROUNDS = 40


def watch(user: User, project: Project, **asked: Any) -> Watched:
    return Watched(user, project.id, **asked)


async def follow(
    user: User, project: Project, last: int, random: Random, **asked: Any
) -> Recording:
    """Watch up to `last`, over many streams, each of which goes on where the one before was."""
    recording, through = Recording(), 0
    while through < last:
        watched = watch(user, project, after_sequence=through, **asked)
        recording.streams.append(watched.stream)
        for _ in range(random.randrange(1, 8)):
            await watched.read()
            if watched.through >= last:
                break
        through = max(through, watched.through)
        watched.leave()
    return recording


@pytest.mark.parametrize("seed", range(3))
async def test_what_many_short_watches_get_is_what_was_logged(
    world: World, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Some are filtered, some resumed in the midst of transactions, some out of the ring."""
    monkeypatch.setattr(hub, "RING_EVENTS", 40)
    monkeypatch.setattr(hub, "SCAN_EVENTS", 10)
    monkeypatch.setattr("task_service.events.assembly.BATCH_EVENTS", 20)
    monkeypatch.setattr("task_service.events.log_reader.BATCH_EVENTS", 20)
    monkeypatch.setattr("task_service.events.assembly.RESPONSE_BYTES", 8_000)
    monkeypatch.setattr("task_service.events.log_reader.RESPONSE_BYTES", 8_000)
    random = Random(seed)  # noqa: S311
    alice, project = await log_of(world)
    sizes = [random.choice((1, 1, 2, 5, 19, 21, 70)) for _ in range(ROUNDS)]
    kinds = [random.choice(("task.updated", "task.created")) for _ in sizes]

    async def write() -> None:
        for size, kind in zip(sizes, kinds, strict=True):
            await add(world, project, size, type=kind, after={"title": "x" * random.randrange(300)})
            await asyncio.sleep(random.random() * 0.01)

    last = sum(sizes)
    created = {"types": [pb.EVENT_TYPE_TASK_CREATED]}
    watchers = [follow(alice, project, last, random, **asked) for asked in ({}, {}, created)]
    writing = asyncio.create_task(write())
    recordings = await asyncio.gather(*watchers)
    await writing
    recordings[-1].matches = lambda event: event.type == "task.created"
    log = await world.owner.read(lambda c: logged(c, project.id))
    assert len(log) == last
    for recording in recordings:
        assert violations(recording, log, to_the_end=True) == []


async def test_a_watch_says_at_once_where_it_is(world: World) -> None:
    alice, project = await log_of(world, 3)
    watched = watch(alice, project)
    first = await watched.read()
    assert (list(first.events), first.through_sequence) == ([], 3)
    assert UUID(first.log_id)
    await add(world, project, 2)
    await watched.until(5)
    assert watched.numbers == [4, 5]
    watched.leave()


async def test_a_watch_from_0_begins_with_the_oldest_event_that_is_kept(world: World) -> None:
    alice, project = await log_of(world, 9)
    await world.execute(COMPACT, UUID(project.id), 5)
    watched = await watch(alice, project, after_sequence=0).until(9)
    assert watched.responses[0].through_sequence == 4
    assert watched.numbers == [5, 6, 7, 8, 9]
    watched.leave()


async def test_a_watch_does_not_begin_where_there_is_nothing_any_more_or_yet(world: World) -> None:
    alice, project = await log_of(world, 9)
    await world.execute(COMPACT, UUID(project.id), 5)
    early = watch(alice, project, after_sequence=3)
    found = await refused(early.end(), Reason.EVENTS_COMPACTED)
    assert found.metadata["first_sequence"] == "5"
    await (last := watch(alice, project, after_sequence=4)).until(9)
    last.leave()
    await refused(watch(alice, project, after_sequence=10).end(), Reason.LOG_REWOUND)
    other = watch(alice, project, after_sequence=9, log_id=str(uuid4()))
    await refused(other.end(), Reason.LOG_REWOUND)


async def test_a_watch_ends_when_the_log_becomes_another_one(world: World) -> None:
    alice, project = await log_of(world, 3)
    watched = watch(alice, project)
    await watched.read()
    restored = "UPDATE event_heads SET log_id = gen_random_uuid(), last = 2 WHERE project_id = $1"
    await world.execute(restored, UUID(project.id))
    await refused(watched.end(), Reason.LOG_REWOUND)


async def test_a_watch_cannot_have_a_number_and_a_snapshot(world: World) -> None:
    alice, project = await log_of(world)
    found = await refused(
        watch(alice, project, after_sequence=0, snapshot=True).end(), Reason.INVALID_FIELD
    )
    assert [*found.fields] == ["after_sequence"]


async def test_each_filter_leaves_out_the_rest(world: World) -> None:
    alice, project = await log_of(world)
    agent, user, room, other, task = (str(uuid4()) for _ in range(5))
    by_agent = {"assigned_to": agent, "assigned_to_type": "agent"}
    by_user = {"assigned_to": user, "assigned_to_type": "user"}
    await add(world, project, resource_id=UUID(task), after={"room_id": room, **by_agent})
    taken = {"assigned_to": None, "assigned_to_type": None}
    await add(world, project, type="task.unassigned", after=taken, before=by_agent)
    await add(world, project, after={"room_id": other, **by_user}, before={"room_id": room})
    await add(world, project, resource_type="room", resource_id=UUID(room), type="room.updated")
    await add(
        world,
        project,
        resource_type="participant",
        type="participant.added",
        after={"room_id": room, "user_id": user},
    )
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"resource_types": [pb.RESOURCE_TYPE_ROOM, pb.RESOURCE_TYPE_PARTICIPANT]}, [4, 5]),
        ({"types": [pb.EVENT_TYPE_TASK_UNASSIGNED]}, [2]),
        ({"resource_ids": [task, room.upper()]}, [1, 4]),
        ({"assigned_to": agent}, [1, 2]),
        ({"assigned_to": user}, [3]),
        ({"room_id": room}, [1, 3, 4, 5]),
        ({"room_id": other}, [3]),
        ({"room_id": room, "assigned_to": agent}, [1]),
        ({"resource_ids": [str(uuid4())]}, []),
    ]
    for asked, numbers in cases:
        watched = await watch(alice, project, after_sequence=0, **asked).until(5)
        assert watched.numbers == numbers, asked
        watched.leave()


async def test_an_agent_without_a_scope_is_sent_only_what_is_its_own(world: World) -> None:
    alice, project = await log_of(world)
    agent = await alice.agent(project)
    client = await alice.as_agent(agent)
    task = await alice.task(project, title="Its", assigned_to=agent.id, assigned_to_type=1)
    await alice.task(project, title="Another")
    log = await world.owner.read(lambda c: logged(c, project.id))
    watched = await Watched(client, project.id, after_sequence=0).until(len(log))
    assert {event.resource_id for event in watched.events} == {agent.id, task.id}
    watched.leave()
    snapshot = Watched(client, project.id, snapshot=True)
    await snapshot.until(1)
    sent = [each.WhichOneof("resource") for r in snapshot.responses for each in r.resources]
    assert sent == ["agent", "task"]
    snapshot.leave()


async def test_a_transaction_of_1000_events_is_not_cut(world: World) -> None:
    assert queries.PAGE_EVENTS < BATCH_EVENTS == 1000
    alice, project = await log_of(world, 1)
    await add(world, project, BATCH_EVENTS)
    watched = await watch(alice, project, after_sequence=1).until(BATCH_EVENTS + 1)
    assert [len(response.events) for response in watched.responses] == [0, BATCH_EVENTS]
    watched.leave()


@pytest.mark.parametrize(("events", "title"), [(1501, "Task"), (400, "long " * 300)])
@pytest.mark.parametrize("is_there", [True, False])
async def test_a_larger_transaction_is_cut_and_resumed_as_a_whole(
    world: World, events: int, title: str, is_there: bool
) -> None:
    alice, project = await log_of(world, 2)
    watched = watch(alice, project, after_sequence=0)
    if not is_there:
        await watched.until(2)
    await add(world, project, events, after=task_named(title))
    await add(world, project)
    await watched.until(events + 3)
    cut = [response for response in watched.responses if response.more_of_batch]
    assert cut
    assert {response.through_sequence for response in cut} == {2}
    assert max(response.ByteSize() for response in cut) < 2 * RESPONSE_BYTES + 100_000
    assert watched.numbers == [*range(1, events + 4)]
    watched.leave()
    again = await watch(alice, project, after_sequence=2).until(events + 3)
    assert again.numbers == [*range(3, events + 4)]
    again.leave()


async def test_a_response_ends_with_a_transaction(world: World) -> None:
    alice, project = await log_of(world)
    for _ in range(8):
        await add(world, project, 50, after=task_named("long " * 300))
    watched = await watch(alice, project, after_sequence=0).until(400)
    assert len(watched.responses) > 2
    assert all(response.through_sequence % 50 == 0 for response in watched.responses)
    assert not any(response.more_of_batch for response in watched.responses)
    assert watched.numbers == [*range(1, 401)]
    watched.leave()


async def test_a_watch_that_reads_nothing_falls_behind_and_misses_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "RING_EVENTS", 20)
    alice, project = await log_of(world, 1)
    fast = watch(alice, project)
    await fast.read()
    async with Unread.opened(world, alice, project_id=project.id, after_sequence=0) as slow:
        for _ in range(30):
            await add(world, project, 60, after=task_named("long " * 300))
        await fast.until(1801)
        await slow.is_full()
        assert slow.responses[-1].through_sequence < 1801 - hub.RING_EVENTS, "it is behind the ring"
        slow.widen()
        await slow.until(1801)
        assert slow.numbers == [*range(1, 1802)]
    fast.leave()


async def test_what_many_watch_is_read_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, project = await log_of(world, 1)
    serialized: list[int] = []

    def counted(row: Any) -> pb.Event:
        serialized.append(row["sequence"])
        return messages.event(row)

    monkeypatch.setattr("task_service.events.responses.event", counted)
    watches = [watch(alice, project) for _ in range(20)]
    for each in watches:
        await each.read()
    for _ in range(5):
        await add(world, project, 2)
    for each in watches:
        await each.until(11)
        assert each.numbers == [*range(2, 12)]
        each.leave()
    assert sorted(serialized) == [*range(2, 12)]


async def test_a_watch_ends_rather_than_to_miss_an_event(world: World) -> None:
    alice, project = await log_of(world, 5)
    await world.execute(
        "DELETE FROM events WHERE project_id = $1 AND sequence = 3", UUID(project.id)
    )
    watched = watch(alice, project, after_sequence=0)
    await refused(watched.end(), Reason.INTERNAL)
    assert watched.numbers == []


async def test_compaction_under_a_reader_is_said_to_whom_it_concerns(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "RING_EVENTS", 10)
    alice, project = await log_of(world, 1)
    fast = watch(alice, project)
    await fast.read()
    async with Unread.opened(world, alice, project_id=project.id, after_sequence=0) as slow:
        for _ in range(20):
            await add(world, project, 60, after=task_named("long " * 300))
        await fast.until(1201)
        await slow.is_full()
        await world.execute(COMPACT, UUID(project.id), 1201)
        slow.widen()
        assert await slow.end() == Code.OUT_OF_RANGE
        assert slow.numbers == [*range(1, len(slow.numbers) + 1)], "what was sent has no gap"
        assert len(slow.numbers) < 1200
    await add(world, project)
    await fast.until(1202)
    assert fast.numbers == [*range(2, 1203)]
    fast.leave()


async def test_a_bookmark_comes_without_events_that_match(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_SECONDS", 0.1)
    alice, project = await log_of(world, 2)
    watched = watch(alice, project, types=[pb.EVENT_TYPE_TASK_DELETED])
    await watched.read()
    await watched.read()
    assert watched.through == 2
    await add(world, project, 3)
    await watched.until(5)
    assert watched.numbers == []
    watched.leave()


async def test_after_1000_events_that_do_not_match_there_is_a_bookmark(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_SECONDS", 3600.0)
    alice, project = await log_of(world, 2)
    watched = watch(alice, project, types=[pb.EVENT_TYPE_TASK_DELETED])
    await watched.read()
    for _ in range(13):
        await add(world, project, 100)
    await watched.read()
    assert watched.through >= 1002
    watched.leave()


async def test_a_watch_goes_on_with_another_process(world: World) -> None:
    alice, project = await log_of(world, 3)
    async with world.asking(world.settings.agent_address) as elsewhere:
        other = User(alice.id, elsewhere.channels, alice.token or "")
        first = await watch(alice, project, after_sequence=0).until(3)
        first.leave()
        await add(world, project, 4)
        second = Watched(
            other, project.id, after_sequence=first.through, log_id=first.responses[0].log_id
        )
        await second.until(7)
        second.leave()
    assert first.numbers + second.numbers == [*range(1, 8)]


async def test_a_watch_survives_an_outage_of_the_database(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    alice, project = await log_of(world, 1)
    watched = watch(alice, project)
    await watched.read()
    failed = 0

    async def fail(_unit: object) -> None:
        nonlocal failed
        failed += 1
        raise unavailable()

    with monkeypatch.context() as patch:
        patch.setattr(world.database, "read", fail)
        await add(world, project, 2)
        await until(lambda: failed > 3)
        assert len(watched.responses) == 1
    await watched.until(3)
    assert watched.numbers == [2, 3]
    watched.leave()


async def test_a_snapshot_and_what_follows_make_the_rows_of_today(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "SNAPSHOT_ROWS", 3)
    queries.resources.cache_clear()
    alice, project = await log_of(world)
    tasks = [await alice.task(project, title=f"Task {n}") for n in range(12)]
    watched = watch(alice, project, snapshot=True)

    async def write() -> None:
        for n, task in enumerate(tasks):
            change = UpdateTaskRequest(task=Task(id=task.id, title=f"Title {n}"))
            await alice.tasks.UpdateTask(change)
        await alice.task(project, title="The last one")

    writing = asyncio.create_task(write())
    while not (watched.responses and watched.responses[-1].snapshot_complete):
        await watched.read()
    assert {r.through_sequence for r in watched.responses[:-1]} == {0}
    await writing
    log = await world.owner.read(lambda c: logged(c, project.id))
    await watched.until(len(log))
    known = {r.task.id: r.task for w in watched.responses for r in w.resources if r.task.id}
    assert len([r for w in watched.responses for r in w.resources if r.task.id]) >= 12
    for event in watched.events:
        held = known.get(event.resource_id)
        if held is None or event.revision > held.revision:
            known[event.resource_id] = event.after.task
    rows = await world.owner.read(
        lambda c: c.fetch(
            "SELECT id, title, revision FROM tasks WHERE project_id = $1", UUID(project.id)
        )
    )
    assert {(t.id, t.title, t.revision) for t in known.values()} == {
        (str(row["id"]), row["title"], row["revision"]) for row in rows
    }
    watched.leave()
    queries.resources.cache_clear()


async def test_a_snapshot_has_each_kind_that_its_caller_may_list(world: World) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    agent = await alice.agent(project)
    await alice.api_key(agent)
    await alice.room(project, agent)
    await alice.task(project)
    await world.member(project.id, bob, "viewer")
    everything = ["project", "member", "agent", "api_key", "room", "participant", "task"]
    assert await kinds(watch(alice, project, snapshot=True)) == everything
    everything.remove("api_key")
    assert await kinds(watch(bob, project, snapshot=True)) == everything
    of_rooms = [pb.RESOURCE_TYPE_ROOM, pb.RESOURCE_TYPE_API_KEY]
    assert await kinds(watch(bob, project, snapshot=True, resource_types=of_rooms)) == ["room"]
    ids = [agent.id, str(bob.id)]
    assert await kinds(watch(bob, project, snapshot=True, resource_ids=ids)) == ["member", "agent"]


async def kinds(watched: Watched) -> list[str | None]:
    while not (watched.responses and watched.responses[-1].snapshot_complete):
        await watched.read()
    watched.leave()
    return [r.WhichOneof("resource") for each in watched.responses for r in each.resources]


async def test_the_last_owner_may_read_the_log_of_a_deleted_project_to_its_end(
    world: World,
) -> None:
    alice, bob = await world.user(), await world.user()
    project = await alice.project()
    await world.member(project.id, bob, "admin")
    await alice.projects.DeleteProject(DeleteProjectRequest(project_id=project.id))
    watched = watch(alice, project, after_sequence=0)
    await refused(watched.end(), Reason.PROJECT_NOT_FOUND)
    assert watched.events[-1].type == pb.EVENT_TYPE_PROJECT_DELETED
    other = watch(bob, project, after_sequence=0)
    await refused(other.end(), Reason.PROJECT_NOT_FOUND)
    assert other.responses == []


async def test_users_are_watched_in_the_log_of_the_nil_project(world: World) -> None:
    root = await world.user(superuser=True)
    watched = Watched(root, str(UUID(int=0)), snapshot=True)
    assert await kinds(watched) == ["user"]
    alice = Watched(await world.user(), str(UUID(int=0)))
    await refused(alice.end(), Reason.PROJECT_NOT_FOUND)


async def test_what_is_stored_in_little_is_not_read_to_be_thrown_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 events of 79 KB each, of which compression leaves 1 KB."""
    monkeypatch.setattr(watching, "RING_EVENTS", 2)  # all but the last are read for this watch
    alice, project = await log_of(world)
    title = "\U0001f600" * 19_750
    for _ in range(300):
        await add(world, project, after=task_named(title))
    built: list[int] = []

    def counted(row: Any) -> pb.Event:
        built.append(row["sequence"])
        return messages.event(row)

    monkeypatch.setattr("task_service.events.responses.event", counted)
    watched = await watch(alice, project, after_sequence=0).until(300)
    assert watched.numbers == [*range(1, 301)]
    assert watched.events[-1].after.task.title == title
    assert max(response.ByteSize() for response in watched.responses) < RESPONSE_BYTES + 1000
    assert 300 <= len(built) <= 450
    watched.leave()


async def test_what_comes_while_a_bookmark_waits_is_sent_at_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wake for it finds nobody who waits."""
    monkeypatch.setattr(watching, "BOOKMARK_SECONDS", 0.3)
    alice, project = await log_of(world, 1)
    held, released, woken = asyncio.Event(), asyncio.Event(), asyncio.Event()
    fresh, wake = guard.Guard.fresh, hub.Hub._wake

    async def waits(self: guard.Guard, watcher: guard.Watcher) -> None:
        held.set()
        await released.wait()
        await fresh(self, watcher)

    async def wakes(self: hub.Hub) -> None:
        await wake(self)
        if str(self.project_id) == project.id and self.ring.last == 2:
            woken.set()

    monkeypatch.setattr(guard.Guard, "fresh", waits)
    monkeypatch.setattr(hub.Hub, "_wake", wakes)
    watched = watch(alice, project)
    await watched.read()
    await held.wait()
    monkeypatch.setattr(watching, "BOOKMARK_SECONDS", 3600.0)
    await add(world, project)
    await woken.wait()
    released.set()
    await watched.until(2)
    assert watched.numbers == [2]
    watched.leave()


async def test_what_happens_during_a_snapshot_comes_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that goes on where the snapshot says misses nothing."""
    alice, project = await log_of(world, 1)
    fresh = guard.Guard.fresh

    async def waits(self: guard.Guard, watcher: guard.Watcher) -> None:
        if watcher.standing.last == 1:
            await add(world, project, 2)
            await until(lambda: watcher.standing.last == 3)
        await fresh(self, watcher)

    monkeypatch.setattr(guard.Guard, "fresh", waits)
    watched = watch(alice, project, snapshot=True)
    while not (watched.responses and watched.responses[-1].snapshot_complete):
        await watched.read()
    assert watched.through == 1
    watched.leave()
    again = await watch(alice, project, after_sequence=watched.through).until(3)
    assert again.numbers == [2, 3]
    again.leave()


async def test_of_what_left_the_ring_nothing_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "RING_EVENTS", 10)
    alice, project = await log_of(world, 1)
    kept: list[tuple[int, int]] = []
    take = hub.Hub._take

    def takes(self: hub.Hub, page: Any) -> None:
        take(self, page)
        kept.extend((len(view._matching), len(view._ready)) for view in self._views.values())

    monkeypatch.setattr(hub.Hub, "_take", takes)
    watched = watch(alice, project)
    await watched.read()
    for n in range(30):
        await add(world, project, 2)
        await watched.until(2 * n + 3)
    assert len(kept) >= 30
    assert max(matching for matching, _ in kept) <= 10
    assert max(ready for _, ready in kept) == 0
    watched.leave()
