"""Which calls are taken, and which give way: floods, silent clients, clients that never read."""

import asyncio
from collections import Counter
from contextlib import AsyncExitStack
from typing import Any

import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from shared.errors import Reason
from shared.grpc_server.accepting import LASTING, UNLIMITED, Crowd
from shared.grpc_server.admission import (
    CALL_OWNER,
    CALLS_PER_CONNECTION,
    MAXIMUM_STREAMS,
    MIB,
    STREAMS_PER_CONNECTION,
    Shares,
    Wait,
    Waiting,
)
from tandem.agent.v1.auth_service_pb2 import ExchangeApiKeyRequest, WhoAmIRequest
from tandem.agent.v1.project_service_pb2 import CreateProjectRequest, Project
from tests.http2 import (
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    call,
    connected,
    frame,
    read_until,
    settled,
)
from tests.locks import under_way
from tests.refusals import outcome, outcomes, refused
from tests.shared.grpc_server.door import WHO_AM_I, opened
from tests.waiting import until
from tests.world import TIMEOUT_SECONDS, Channels, Client, World

CHECK = "/grpc.health.v1.Health/Check"
CREATE = "/tandem.agent.v1.ProjectService/CreateProject"


def who_am_i(client: Client) -> Any:
    return client.auth.WhoAmI(WhoAmIRequest())


async def first_outcome(calls: "list[asyncio.Task[str]]") -> str:
    """How the call ended that ends first, and is then left out."""
    done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
    call = done.pop()
    calls.remove(call)
    return call.result()


@pytest.mark.parametrize(("holders", "each"), [(1, 50), (2, 33), (3, 25), (9, 10), (99, 1)])
def test_equal_shares_leave_one_for_the_next(holders: int, each: int) -> None:
    shares = Shares(each * (holders + 1))
    for _ in range(100):
        for holder in range(holders):
            shares.take(str(holder))
    assert Counter(shares.held.values()) == {each: holders}
    assert shares.take("the next")


def test_what_is_released_is_free_again() -> None:
    shares = Shares(2)
    assert shares.take("a")
    assert not shares.take("a")
    shares.release("a")
    assert (shares.free, shares.held) == (2, {})


async def test_a_crowd_is_noticed_at_once_lasts_and_is_forgotten() -> None:
    crowd = Crowd(5)
    for _ in range(LASTING):
        assert crowd.most == UNLIMITED
        crowd.notice()
    assert crowd.most == 5
    made_way = asyncio.ensure_future(crowd.make_way(1))
    await crowd.make_way(0)
    assert not made_way.done()
    await made_way
    assert crowd.most == 5
    await until(lambda: crowd.most == UNLIMITED)


async def test_a_flood_of_one_caller_is_refused_and_leaves_places_for_others(world: World) -> None:
    async with opened(world) as door:
        flood = await door.client(await world.user())
        other = await door.client(await world.user())
        share = CALLS_PER_CONNECTION // 2
        async with under_way(world.url, "LOCK TABLE projects IN EXCLUSIVE MODE") as blocked:
            calls = [asyncio.ensure_future(outcome(flood.project())) for _ in range(share + 1)]
            await blocked.wait()
            done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            assert [call.result() for call in done] == ["LIMIT_EXCEEDED"]
            found = await refused(who_am_i(flood), Reason.LIMIT_EXCEEDED)
            assert found.details["RetryInfo"].retry_delay.seconds == 1
            assert await outcome(who_am_i(other)) == "OK"
        assert Counter(await asyncio.gather(*calls)) == {"OK": share, "LIMIT_EXCEEDED": 1}
        assert await outcome(who_am_i(flood)) == "OK"


async def test_a_burst_is_taken_before_it_is_served(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.grpc_server.accepting.LOOK_SECONDS", 0.25)
    monkeypatch.setattr("shared.grpc_server.accepting.HOLD_SECONDS", TIMEOUT_SECONDS)
    alice = await world.user()
    bearer = {"authorization": f"Bearer {alice.token}".encode()}
    async with opened(world) as door, AsyncExitStack() as stack:
        connections = []
        for _ in range(4):
            connection = await stack.enter_async_context(connected(door.port))
            await settled(*connection)
            connections.append(connection)
        for n, (_, writer) in enumerate(connections):  # all at once: nothing here waits
            slugs = (f"burst-{n}-{i}" for i in range(150))
            writer.write(
                b"".join(call(CREATE, bearer, new(slug), 2 * i + 1) for i, slug in enumerate(slugs))
            )
        ends = [await answers(reader, 150) for reader, _ in connections]
    # 250 if they are taken one by one, 12 if work begins before the rest is refused.
    assert sum(map(sum, ends)) <= CALLS_PER_CONNECTION // 2 + 2
    for was_answered in ends:  # the first of a caller does not make way
        assert sum(was_answered[: was_answered.count(False)]) <= 1


def new(slug: str) -> bytes:
    return CreateProjectRequest(project=Project(slug=slug, name="Burst")).SerializeToString()


async def answers(reader: asyncio.StreamReader, calls: int) -> list[bool]:
    """Which calls of a connection get an answer, in the order of their ends; each has a status."""
    answered: set[int] = set()
    ended: list[int] = []
    while len(ended) < calls:
        kind, flags, stream, payload = await frame(reader)
        assert kind not in (RST_STREAM, GOAWAY), payload
        if kind == DATA:
            answered.add(stream)
        elif kind == HEADERS and flags & END_STREAM:
            ended.append(stream)
    return [stream in answered for stream in ended]


async def test_a_call_that_fails_leaves_its_place(world: World) -> None:
    async with opened(world) as door:
        stub = Client((await door.client(await world.user())).channels, None)
        for _ in range(2 * CALLS_PER_CONNECTION):
            call = stub.auth.ExchangeApiKey(ExchangeApiKeyRequest(api_key="x"))
            assert await outcome(call) == "API_KEY_INVALID"


async def test_every_call_of_a_burst_is_answered_in_our_words(world: World) -> None:
    async with opened(world) as door:
        clients = [Client(Channels(c, c), None) for c in [await door.channel() for _ in range(20)]]
        found = Counter(await outcomes(*(who_am_i(clients[n % 20]) for n in range(4000))))
    assert found == {"TOKEN_MISSING": 4000}


async def test_a_message_is_not_awaited_for_a_stranger(world: World) -> None:
    async with opened(world) as door:
        await refused(await door.silent(WHO_AM_I), Reason.TOKEN_MISSING)


async def test_strangers_that_send_no_message_give_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.grpc_server.interceptor.MAXIMUM_WAITING_STRANGERS", 3)
    async with opened(world) as door:
        calls = [asyncio.create_task(outcome(await door.silent(CHECK))) for _ in range(4)]
        assert await first_outcome(calls) == "LIMIT_EXCEEDED"
        stub: Any = HealthStub(await door.channel())
        answer = await stub.Check(HealthCheckRequest(), timeout=TIMEOUT_SECONDS)
        assert answer.status == HealthCheckResponse.SERVING
        assert await first_outcome(calls) == "LIMIT_EXCEEDED"
        assert len(calls) == 2


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a", ""),
        ("abc", "bc"),
        ("aabaa", "baa"),
        ("aaab", "aab"),
        ("aabbbaabbc", "aabaabbc"),
        ("aaaabbbb", "aabb"),
    ],
)
async def test_room_is_made_by_those_who_have_the_most(before: str, after: str) -> None:
    waiting = Waiting(len(before))
    for holder in before:
        task = asyncio.create_task(asyncio.sleep(TIMEOUT_SECONDS))
        task.add_done_callback(waiting.pop)
        waiting[task] = Wait(holder, 0, None)
    tasks = list(waiting)
    waiting.make_room()
    assert "".join(str(wait.holder) for wait in waiting.values()) == after
    await until(lambda: sum(task.cancelled() for task in tasks) == len(before) - len(after))
    for task in tasks:
        task.cancel()


async def test_the_caller_with_most_silent_calls_gives_way(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.grpc_server.interceptor.MAXIMUM_WAITING", 3)
    alice, bob = [await world.user() for _ in range(2)]
    async with opened(world) as door:
        slow = await door.silent(WHO_AM_I, bob)
        flood = [asyncio.create_task(outcome(await door.silent(WHO_AM_I, alice))) for _ in range(4)]
        assert [await first_outcome(flood) for _ in range(2)] == ["LIMIT_EXCEEDED"] * 2
        await slow.write(b"")
        await slow.done_writing()
        assert await slow


async def test_a_message_that_never_comes_is_not_awaited_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.grpc_server.interceptor.MESSAGE_SECONDS", 0)
    monkeypatch.setattr("shared.grpc_server.admission.SWEEP_SECONDS", 0.05)
    async with opened(world) as door:
        await refused(await door.silent(WHO_AM_I, await world.user()), Reason.LIMIT_EXCEEDED)


async def test_a_call_without_a_message_is_refused(world: World) -> None:
    async with opened(world) as door:
        call = await door.silent(WHO_AM_I, await world.user())
        await call.done_writing()
        await refused(call, Reason.INVALID_FIELD)


async def test_a_client_that_does_not_take_its_answer_is_cut_off(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.grpc_server.interceptor.ANSWER_SECONDS", 0)
    monkeypatch.setattr("shared.grpc_server.admission.SWEEP_SECONDS", 0.05)
    async with opened(world) as door, door.unread(await world.user()) as reader:
        await read_until(reader, b"application/grpc")  # the head of its answer
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while any(_owns_a_call(task) for task in asyncio.all_tasks()):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert not reader.at_eof()


def _owns_a_call(task: "asyncio.Task[Any]") -> bool:
    """Whether a task of gRPC keeps a call and its answer, which goes with it."""
    return getattr(task.get_coro(), "__name__", "") == CALL_OWNER


async def test_a_caller_that_does_not_take_its_answers_gets_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.grpc_server.admission.UNSENT_BYTES", 1)
    monkeypatch.setattr("shared.grpc_server.interceptor.FEW_WAITING", 0)
    alice, bob = [await world.user() for _ in range(2)]
    async with opened(world) as door:
        reading, other = await door.client(alice), await door.client(bob)
        async with door.unread(alice) as reader:
            await read_until(reader, b"application/grpc")  # the head of its answer
            await refused(who_am_i(reading), Reason.LIMIT_EXCEEDED)
            assert await outcome(who_am_i(other)) == "OK"


@pytest.mark.parametrize(
    ("unsent", "refused"),
    [
        ([("alice", 15, "a")], []),
        ([("alice", 16, "a")], [("alice", "a")]),
        ([("alice", 8, "a"), ("bob", 20, "a")], [("alice", "a"), ("bob", "a")]),
        ([("alice", 16, "a"), ("bob", 1, "b")], [("alice", "a")]),
        (
            [("alice", 15, "a"), ("alice", 17, "b")],
            [("alice", "a"), ("alice", "b"), ("alice", "c")],
        ),
    ],
)
async def test_who_has_to_take_answers_first(
    unsent: list[tuple[str, int, str]], refused: list[tuple[str, str]]
) -> None:
    waiting = Waiting(100)
    for holder, mib, connection in unsent:
        task = asyncio.create_task(asyncio.sleep(0))
        waiting[task] = Wait(holder, 0, mib * MIB, connection)
    found = [
        (holder, connection)
        for holder in ("alice", "bob")
        for connection in "abc"
        if waiting.reads_too_little(holder, connection)
    ]
    assert found == refused


async def test_the_streams_of_a_connection_are_limited(world: World) -> None:
    async with opened(world) as door:
        stub: Any = HealthStub(await door.channel())
        watches = [stub.Watch(HealthCheckRequest()) for _ in range(STREAMS_PER_CONNECTION)]
        for watch in watches:
            assert (await watch.read()).status == HealthCheckResponse.SERVING
        await refused(stub.Watch(HealthCheckRequest()).read(), Reason.LIMIT_EXCEEDED)
        assert (await stub.Check(HealthCheckRequest())).status == HealthCheckResponse.SERVING
        another: Any = HealthStub(await door.channel())
        watches.append(another.Watch(HealthCheckRequest()))
        assert (await watches[-1].read()).status == HealthCheckResponse.SERVING
        for watch in watches:
            watch.cancel()


async def test_the_streams_of_a_host_are_limited(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MAXIMUM_STREAMS > 2 * STREAMS_PER_CONNECTION
    monkeypatch.setattr("shared.grpc_server.admission.MAXIMUM_STREAMS", 2)
    async with opened(world) as door:
        first: Any = HealthStub(await door.channel())
        second: Any = HealthStub(await door.channel())
        watch = first.Watch(HealthCheckRequest())
        assert (await watch.read()).status == HealthCheckResponse.SERVING
        await refused(second.Watch(HealthCheckRequest()).read(), Reason.LIMIT_EXCEEDED)
        watch.cancel()
