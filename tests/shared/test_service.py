"""A service as a process: what it says if it cannot start, and how it ends."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest
from structlog.testing import capture_logs

from cli.queries import SERVICES
from shared.database.transaction import Database
from shared.grpc_server.certificates import Files
from shared.grpc_server.tls import Port
from shared.schema import REVISION
from shared.service import EXCESS, warn_if_exposed, warn_of_excess
from tests import as_service
from tests.databases import execute
from tests.local.embedded_postgres.folders import ask
from tests.processes import service
from tests.world import SECRET

MODULES = ("agent_service", "task_service")
URL = "postgresql://tandem:{password}@127.0.0.1:1/tandem"
SECONDS = 300
NO_FILES = Files("TANDEM_AGENT_TLS_", None, None, None)


def refused(module: str = "agent_service", **environment: str) -> str:
    """The one sentence that a service says instead of starting."""
    said = service(module, **environment).communicate(timeout=SECONDS)[1]
    assert said.count("\n") == 1
    return said


@pytest.mark.parametrize("password", ["hunter2#end", "hunter2?end", "hunter2/end"])
def test_a_password_that_is_not_quoted_is_not_repeated(password: str) -> None:
    said = refused(TANDEM_DATABASE_URL=URL.format(password=password))
    assert said.startswith("TANDEM_DATABASE_URL: must be a URL")
    assert "hunter2" not in said


def test_a_parameter_that_makes_no_sense_is_not_tried_again() -> None:
    url = URL.format(password="hunter2") + "?sslmode=maybe"
    assert refused(TANDEM_DATABASE_URL=url).startswith("TANDEM_DATABASE_URL: must be a URL")


def test_nothing_to_connect_to_is_said(tmp_path: Path) -> None:
    assert "TANDEM_DATABASE_URL is not set" in refused(TANDEM_DATA_DIR=str(tmp_path))


@pytest.mark.parametrize("module", MODULES)
def test_a_missing_key_is_said(module: str, database_url: str) -> None:
    said = refused(module, TANDEM_DATABASE_URL=database_url, TANDEM_JWT_SECRET="")
    assert "set TANDEM_JWT_PUBLIC_KEY" in said


def test_a_database_without_tables_is_not_served(empty_database_url: str) -> None:
    assert "tandem db upgrade" in refused(TANDEM_DATABASE_URL=empty_database_url)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    ("revision", "advice"),
    [
        ("009_widen_list_indexes", "run `tandem db upgrade` first"),
        ("999_from_the_future", f"`tandem db downgrade {REVISION}`"),
        ("made_elsewhere", "use the version of Tandem that migrated it"),
    ],
)
def test_another_schema_is_not_served(
    module: str, revision: str, advice: str, database_url: str
) -> None:
    change = "UPDATE alembic_version SET version_num = $1 RETURNING 1"
    ask(database_url, change, revision)
    said = refused(module, TANDEM_DATABASE_URL=database_url)
    assert said.startswith(
        f"The database is at revision {revision}, and this version of Tandem needs {REVISION}: "
    )
    assert advice in said


FROZEN = """
import gc
import agent_service.__main__
from shared.service import StartError, main

def address(_settings):
    raise StartError(gc.get_freeze_count())

main("agent service", None, address)
"""


REFUSED = """
from agent_service.__main__ import addresses
from shared import service
from shared.grpc_server.server import StartError

def build(_database, _settings):
    service.log.warning("not ready: the database takes no changes")
    raise StartError("It was refused.")

service.main("agents", build, addresses)
"""


def test_why_a_start_is_refused_stands_below_the_lines_of_before(database_url: str) -> None:
    secret = {"TANDEM_DATABASE_URL": database_url, "TANDEM_JWT_SECRET": SECRET.get_secret_value()}
    found = subprocess.run(
        [sys.executable, "-c", REFUSED],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **secret},
        stderr=subprocess.PIPE,
        text=True,
    )
    *lines, last = found.stderr.splitlines()
    assert "not ready" in lines[-1]
    assert last == "It was refused."


def test_no_collection_of_garbage_looks_at_what_is_imported() -> None:
    """It would stop all calls for long."""
    found = subprocess.run(
        [sys.executable, "-c", FROZEN],
        env={**os.environ, "TANDEM_JWT_SECRET": SECRET.get_secret_value()},
        stderr=subprocess.PIPE,
        check=False,
    )
    assert int(found.stderr) > 10_000


# A project without a head of its log, of a version that has none.
OLDER = """
INSERT INTO users (id, username, email) VALUES (gen_random_uuid(), 'ada', 'ada@example.org');
INSERT INTO projects (id, owner_id, slug, name) SELECT gen_random_uuid(), id, 'p', 'P' FROM users;
"""


@pytest.mark.parametrize("module", MODULES)
def test_it_warns_once_of_a_role_that_can_too_much_and_ends_as_it_is_told(
    module: str, database_url: str
) -> None:
    asyncio.run(as_service.divide(database_url))
    asyncio.run(execute(database_url, OLDER))
    for number, url, begins in (
        (signal.SIGTERM, database_url, [EXCESS, "listening"]),
        (signal.SIGINT, as_service.url_for(database_url), ["listening"]),
    ):
        process = service(module, TANDEM_DATABASE_URL=url)
        assert process.stderr
        said = [orjson.loads(process.stderr.readline())["event"]]
        while said[-1] != "listening":
            said.append(orjson.loads(process.stderr.readline())["event"])
        assert said == begins
        assert ask(database_url, "SELECT count(*) FROM event_heads") == 2, (
            "also of an older version"
        )
        assert ask(database_url, SERVICES), "`tandem db restored` finds it by its name"
        process.send_signal(number)
        assert orjson.loads(process.communicate(timeout=SECONDS)[1])["event"] == "stopped"
        assert process.returncode == 0


async def excess(url: str) -> list[str]:
    """What a service with this URL warns of."""
    database = await Database.connect(url, size=1)
    with capture_logs() as said:
        await warn_of_excess(database)
    await database.close()
    assert [line["log_level"] for line in said] in ([], ["warning"])
    return [what for line in said for what in line["can"]]


@pytest.mark.parametrize(
    ("grant", "warned"),
    [
        ("GRANT CREATE ON SCHEMA public TO {name}", "CREATE on the schema"),
        ("GRANT CREATE ON DATABASE {database} TO {name}", "CREATE on the database"),
        ("GRANT TEMPORARY ON DATABASE {database} TO PUBLIC", "TEMPORARY on the database"),
        ("ALTER TABLE users OWNER TO {name}", "everything with tables of its own"),
        ("GRANT UPDATE ON alembic_version TO {name}", "change the revision"),
        ("GRANT UPDATE ON events TO {name}", "change events"),
    ],
)
async def test_what_the_services_role_can_beyond_rows_is_warned_of(
    database_url: str, grant: str, warned: str
) -> None:
    await as_service.divide(database_url)
    url = as_service.url_for(database_url)
    assert await excess(url) == []
    name = urlsplit(database_url).path[1:]
    await execute(database_url, grant.format(name=as_service.NAME, database=name))
    assert await excess(url) == [warned]
    assert "everything, as a superuser" in await excess(database_url)


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        ("127.0.0.1:50051", False),
        ("127.8.0.1:50051", False),
        ("[::1]:50051", False),
        ("localhost:50051", False),
        ("0.0.0.0:50051", True),
        ("[::]:50051", True),
        ("192.0.2.1:50051", True),
        ("example.org:50051", True),
    ],
)
def test_an_address_that_other_machines_reach_is_warned_of(address: str, warned: bool) -> None:
    with capture_logs() as said:
        warn_if_exposed(Port("TANDEM_AGENT_ADDRESS", address, NO_FILES))
    assert [line["address"] for line in said] == [address] * warned
