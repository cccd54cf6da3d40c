"""`tandem events`."""

import asyncio
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from click.testing import Result

from tests.cli.conftest import Tandem
from tests.event_log import append
from tests.local.embedded_postgres.folders import ask
from tests.waiting import SECONDS

FILL = """
WITH ann AS (
    INSERT INTO users (id, username, email) VALUES (gen_random_uuid(), 'ann', 'a@example.org')
    RETURNING id
), project AS (
    INSERT INTO projects (id, owner_id, slug, name)
    SELECT gen_random_uuid(), id, 'demo', 'Demo' FROM ann RETURNING id
)
INSERT INTO event_heads (project_id, log_id) SELECT id, gen_random_uuid() FROM project
RETURNING project_id
"""
CONNECTED = """
SELECT string_agg(state, ' ') FROM pg_stat_activity
WHERE datname = current_database() AND query LIKE '%event_heads WHERE%' AND pid <> pg_backend_pid()
"""
END_ALL = """
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# The log is another one.
ANOTHER = "UPDATE event_heads SET log_id = gen_random_uuid()"
COMPACT = """
WITH moved AS (UPDATE event_heads SET first = $2 WHERE project_id = $1)
DELETE FROM events WHERE project_id = $1 AND sequence < $2
"""


class Project:
    """A project with the slug "demo", in whose log a test writes."""

    def __init__(self, url: str) -> None:
        self._url = url
        project_id = ask(url, FILL)
        assert isinstance(project_id, UUID)
        self.id = project_id
        self.user_id = ask(url, "SELECT id FROM users")

    def add(self, n: int = 1, **columns: Any) -> None:
        """Append events."""

        async def run() -> None:
            connection = await asyncpg.connect(self._url)
            try:
                await append(connection, self.id, n, **columns)
            finally:
                await connection.close()

        asyncio.run(run())


@pytest.fixture
def project(database_url: str) -> Project:
    return Project(database_url)


def numbers(printed: str) -> list[int]:
    return [int(line.split()[0]) for line in printed.splitlines()]


def test_an_event_is_a_line_that_says_who_changed_what(tandem: Tandem, project: Project) -> None:
    agent_id = uuid4()
    project.add(
        type="task.completed",
        actor_id=project.user_id,
        after={"title": "Find the bug", "status": "completed", "priority": None, "revision": 2},
        before={"title": "Find the bug", "status": "pending", "priority": "low", "revision": 1},
        changed=["result"],
    )
    project.add(type="agent.deleted", resource_type="agent", actor_type="agent", actor_id=agent_id)
    project.add(
        type="member.added", resource_type="member", resource_id=agent_id, actor_type="system"
    )
    first, second, third = tandem.says("events", "demo").splitlines()
    number, day, time, *rest = first.split(maxsplit=3)
    assert number == "1"
    printed = datetime.fromisoformat(f"{day} {time}").astimezone()
    assert abs((printed - datetime.now().astimezone()).total_seconds()) < 3600
    assert rest == [
        "ann  task.completed  Find the bug  "
        "status: pending → completed, priority: low → none, result changed"
    ]
    assert second.split()[3:] == [str(agent_id)[:8], "agent.deleted", second.split()[-1]]
    assert third.split()[3:] == ["system", "member.added", str(agent_id)[:8]]


def test_what_the_log_does_not_show_afterwards_is_no_change(
    tandem: Tandem, project: Project
) -> None:
    project.add(after={"attempt": 0}, before={"attempt": 1, "releases": 0})
    (line,) = tandem.says("events", "demo").splitlines()
    assert line.endswith("  attempt: 1 → 0")


def test_what_a_terminal_would_obey_is_shown_as_text(tandem: Tandem, project: Project) -> None:
    project.add(after={"title": "\x1b[2J\n"}, before={"title": "x" * 100})
    (line,) = tandem.says("events", "demo").splitlines()
    assert "\\x1b[2J\\n" in line
    assert f"title: {'x' * 39}… → " in line


def test_the_latest_50_are_shown_if_nothing_else_is_said(tandem: Tandem, project: Project) -> None:
    project.add(60)
    assert numbers(tandem.says("events", "demo")) == [*range(11, 61)]
    assert numbers(tandem.says("events", str(project.id), "--limit", "2")) == [59, 60]
    assert numbers(tandem.says("events", "demo", "--after", "0")) == [*range(1, 61)]
    assert numbers(tandem.says("events", "demo", "--after", "58")) == [59, 60]
    assert tandem.says("events", "demo", "--after", "60") == ""
    assert numbers(tandem.says("events", "demo", "--after", "3", "--limit", "2")) == [4, 5]


def test_all_of_a_long_log_is_shown(tandem: Tandem, project: Project) -> None:
    project.add(1200)
    assert numbers(tandem.says("events", "demo", "--after", "0")) == [*range(1, 1201)]


def test_only_what_is_asked_for_is_shown(tandem: Tandem, project: Project) -> None:
    one = uuid4()
    project.add(2, resource_id=one)
    project.add(type="task.created", resource_id=one)
    project.add(type="task.deleted")
    project.add()
    for options, matching in [
        (["--resource", str(one)], [1, 2, 3]),
        (["--type", "task.created", "--type", "task.deleted"], [3, 4]),
        (["--type", "task.created", "--resource", str(uuid4())], []),
        (["--type", "task.deleted", "--after", "2"], [4]),
    ]:
        assert numbers(tandem.says("events", "demo", *options)) == matching
    assert tandem("events", "demo", "--type", "task.eaten").exit_code == 2
    assert tandem("events", "demo", "--after", "-1").exit_code == 2


def test_programs_get_a_document_for_each(tandem: Tandem, project: Project) -> None:
    after = {"title": "Task", "status": "pending"}
    project.add(2, after=after, changed=["description"], request_id="a request")
    first, second = map(json.loads, tandem.says("events", "demo", "--json").splitlines())
    assert (first["sequence"], second["sequence"], second["batch"]) == (1, 2, 1)
    assert first["after"] == after
    assert first["before"] is None
    assert first["changed"] == ["description"]
    assert datetime.fromisoformat(first["at"]).tzinfo
    assert {"last", "actor", "log_id"}.isdisjoint(first)


def test_a_log_that_cannot_be_read_on_is_a_sentence(
    tandem: Tandem, project: Project, database_url: str
) -> None:
    project.add(10)
    ask(database_url, COMPACT, project.id, 6)
    sentence = tandem.refuses("events", "demo", "--after", "3")
    assert sentence == "Too old events are gone; the oldest now is 6.\n"
    assert numbers(tandem.says("events", "demo", "--after", "0")) == [*range(6, 11)]
    sentence = tandem.refuses("events", "demo", "--after", "11")
    assert sentence == "The log has no event 11 yet, only up to 10.\n"


def test_a_project_that_is_not_there_is_a_sentence(tandem: Tandem) -> None:
    sentence = tandem.refuses("events", "nothing")
    assert sentence == "There is no log of a project nothing.\n"


def test_a_database_without_tables_is_told_apart(tandem: Tandem, empty_database_url: str) -> None:
    sentence = tandem.refuses("events", "demo", TANDEM_DATABASE_URL=empty_database_url)
    assert "run `tandem db upgrade` first" in sentence


@contextmanager
def following(tandem: Tandem, database_url: str, *options: str) -> Iterator["Future[Result]"]:
    """`tandem events --follow` in a thread, once it waits; it has to end by itself."""
    with ThreadPoolExecutor(1) as threads:
        result = threads.submit(tandem, "events", "demo", "--follow", *options)
        try:
            end = time.monotonic() + SECONDS
            while ask(database_url, CONNECTED) is None and not result.done():
                assert time.monotonic() < end, "it does not begin"
                time.sleep(0.05)
            yield result
            result.result(SECONDS)
        finally:
            ask(database_url, ANOTHER)


def test_what_happens_is_followed_until_the_project_is_deleted(
    tandem: Tandem, project: Project, database_url: str
) -> None:
    project.add(2)
    with following(tandem, database_url, "--limit", "1") as result:
        project.add(3)
        project.add(600)
        project.add(type="project.deleted", resource_type="project")
    assert result.result(SECONDS).exit_code == 0
    assert numbers(result.result().stdout) == [*range(2, 607)]


def test_it_ends_with_the_number_that_is_asked_for(
    tandem: Tandem, project: Project, database_url: str
) -> None:
    project.add(2)
    with following(tandem, database_url, "--after", "1", "--limit", "3") as result:
        project.add(5)
    assert numbers(result.result(SECONDS).stdout) == [2, 3, 4]


def test_no_transaction_is_open_while_nothing_happens(
    tandem: Tandem, project: Project, database_url: str
) -> None:
    with following(tandem, database_url) as result:
        states = {ask(database_url, CONNECTED) for _ in range(20)}
        project.add(type="project.deleted", resource_type="project")
    assert states <= {"idle", "active"}
    assert result.result(SECONDS).exit_code == 0


def test_it_goes_on_when_the_database_is_back(
    tandem: Tandem, project: Project, database_url: str
) -> None:
    with following(tandem, database_url) as result:
        assert ask(database_url, END_ALL) == 1
        project.add(2)
        project.add(type="project.deleted", resource_type="project")
    assert numbers(result.result(SECONDS).stdout) == [1, 2, 3]
    assert result.result().stderr.count("waiting for it") == 1


@pytest.mark.usefixtures("project")
def test_a_log_that_is_another_one_is_not_followed(tandem: Tandem, database_url: str) -> None:
    with following(tandem, database_url) as result:
        ask(database_url, ANOTHER)
    assert result.result(SECONDS).exit_code == 1
    assert "a backup was restored" in result.result().stderr
