"""The pulse: who waits for news of a log is told of them, at a bounded cost."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from shared.database.pool import Pool, UnitOfWork
from shared.database.transaction import Database, unavailable
from shared.events import news as registry
from task_service.events import pulse as module
from task_service.events.pulse import Pulse
from tests.event_log import append
from tests.waiting import SECONDS, until


class Watched(Database):
    """A database that counts the looks, can be out of reach, and can hold a look up."""

    def __init__(self, pool: Any) -> None:
        super().__init__(pool)
        self.looks = 0
        self.is_down = False
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def read(self, unit_of_work: UnitOfWork[Any]) -> Any:
        self.looks += 1
        if self.is_down:
            raise unavailable()
        answer = await super().read(unit_of_work)
        await self.may_end.wait()
        return answer


@pytest.fixture
async def looked_at(database_url: str) -> AsyncIterator[Watched]:
    database = Watched(await Pool.connect(database_url, 2, "tandem"))
    yield database
    database.may_end.set()
    await database.close()


@pytest.fixture
async def pulse(looked_at: Watched) -> AsyncIterator[Pulse]:
    pulse = Pulse(looked_at)
    yield pulse
    await pulse.close()


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[Any]:
    """Another process that writes."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def test_a_waiter_is_told_of_news_of_its_log_only(pulse: Pulse, elsewhere: Any) -> None:
    mine, other = uuid7(), uuid7()
    with pulse.subscribed(mine) as news, pulse.subscribed(other) as others:
        assert await append(elsewhere, mine, 3) == [1, 2, 3]
        assert await news.wait(0, SECONDS) == 3
        waiting = asyncio.create_task(news.wait(3, SECONDS))
        await append(elsewhere, other)
        assert await others.wait(0, SECONDS) == 1
        assert not waiting.done()
        await append(elsewhere, mine)
        assert await waiting == 4
        assert await news.wait(2, SECONDS) == 4, "what is known is not waited for"


async def test_a_wait_ends_without_news(pulse: Pulse) -> None:
    with pulse.subscribed(uuid7()) as news:
        assert await news.wait(0, 0.001) == 0
        assert await news.wait(7, 0) == 0


async def test_it_looks_only_while_anyone_subscribes(pulse: Pulse, looked_at: Watched) -> None:
    project = uuid7()
    with pulse.subscribed(project), pulse.subscribed(project):
        await until(lambda: looked_at.looks >= 2)
    await until(lambda: _task(pulse).done())
    looks = looked_at.looks
    registry.committed()
    await asyncio.sleep(0)
    assert looked_at.looks == looks
    with pulse.subscribed(project):
        await until(lambda: looked_at.looks > looks)


async def test_one_look_is_for_all(
    pulse: Pulse, looked_at: Watched, elsewhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600.0)
    projects = [uuid7() for _ in range(20)]
    for project in projects:
        await append(elsewhere, project)

    async def wait(project: UUID) -> int:
        with pulse.subscribed(project) as news:
            return await news.wait(0, SECONDS)

    waiting = [asyncio.create_task(wait(project)) for project in projects * 50]
    await asyncio.sleep(0)
    registry.committed()
    assert await asyncio.gather(*waiting) == [1] * 1000
    assert looked_at.looks == 1


async def test_commits_during_a_look_cause_one_more(
    pulse: Pulse, looked_at: Watched, elsewhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(module, "CALM_LOOK_SECONDS", 3600.0)
    project = uuid7()
    with pulse.subscribed(project) as news:
        looked_at.may_end.clear()
        registry.committed()
        await until(lambda: looked_at.looks == 1)
        await asyncio.sleep(0.05)  # it has its answer, most likely: what follows is not in that
        await append(elsewhere, project)
        for _ in range(100):
            registry.committed()
        looked_at.may_end.set()
        assert await news.wait(0, SECONDS) == 1
        assert looked_at.looks <= 2


async def test_a_subscriber_that_comes_during_a_look_is_not_forgotten(
    pulse: Pulse, looked_at: Watched, elsewhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not in that look, and the next one would be much later."""
    monkeypatch.setattr(module, "CALM_LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(module, "CALM_SECONDS", 0.0)
    first, late = uuid7(), uuid7()
    with pulse.subscribed(first):
        looked_at.may_end.clear()
        await until(lambda: looked_at.looks == 1)
        with pulse.subscribed(late) as news:
            await append(elsewhere, late)
            waiting = asyncio.create_task(news.wait(0, SECONDS))
            await asyncio.sleep(0)
            looked_at.may_end.set()
            assert await waiting == 1


async def test_it_looks_rarely_without_news_and_at_once_after_some(
    pulse: Pulse, looked_at: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALM_SECONDS", 0.0)
    monkeypatch.setattr(module, "CALM_LOOK_SECONDS", 3600.0)
    with pulse.subscribed(uuid7()):
        await until(lambda: looked_at.looks == 1)
        await asyncio.sleep(0.3)  # three times the pause before
        assert looked_at.looks == 1
        registry.committed()
        await until(lambda: looked_at.looks == 2)
        with pulse.subscribed(uuid7()):
            await until(lambda: looked_at.looks == 3)


@pytest.mark.parametrize("is_known", [True, False])
async def test_the_end_of_a_log_wakes_its_waiters(
    pulse: Pulse, elsewhere: Any, is_known: bool
) -> None:
    project = uuid7()
    last = (await append(elsewhere, project, 5))[-1]
    with pulse.subscribed(project) as news:
        if is_known:
            assert await news.wait(0, SECONDS) == last
        await elsewhere.execute("DELETE FROM event_heads WHERE project_id = $1", project)
        assert await news.wait(last, SECONDS) == 0


async def test_an_outage_is_waited_out(
    pulse: Pulse, looked_at: Watched, elsewhere: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CALM_LOOK_SECONDS", 0.01)
    project = uuid7()
    looked_at.is_down = True
    with pulse.subscribed(project) as news:
        waiting = asyncio.create_task(news.wait(0, SECONDS))
        await until(lambda: looked_at.looks >= 3)
        assert await news.wait(0, 0.001) == 0
        await append(elsewhere, project)
        looked_at.is_down = False
        assert await waiting == 1


async def test_a_waiter_that_goes_leaves_nothing(pulse: Pulse) -> None:
    with pulse.subscribed(uuid7()) as news:
        waiting = asyncio.create_task(news.wait(0, SECONDS))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert not news._waiters
    assert not pulse._logs


def _task(pulse: Pulse) -> "asyncio.Task[None]":
    assert pulse._task is not None
    return pulse._task
