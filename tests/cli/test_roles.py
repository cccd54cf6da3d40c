"""`tandem db roles` makes the owner and the services' role in a database of one's own."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest

from cli import roles as commands
from cli import schema
from cli.console import CommandError
from migrations.run import upgrade
from shared.database import roles
from shared.schema import metadata
from shared.settings import SecretStr, Settings
from tests.cli.conftest import Tandem
from tests.databases import execute
from tests.local.embedded_postgres.folders import ask
from tests.locks import under_way

OWNERS = "SELECT string_agg(DISTINCT tableowner, ' ') FROM pg_tables WHERE schemaname = 'public'"
USER = (
    "INSERT INTO users (id, username, email) VALUES (gen_random_uuid(), 'ann', 'ann@example.org')"
)


@dataclass(frozen=True)
class Names:
    """Roles that only one test uses, and the database."""

    owner: str
    service: str
    admin: str
    url: str

    def as_role(self, name: str) -> str:
        parts = urlsplit(self.url)
        hosts = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=f"{name}:hunter2%23end@{hosts}").geturl()

    @property
    def environment(self) -> dict[str, str]:
        return {
            "TANDEM_DATABASE_URL": self.as_role(self.service),
            "TANDEM_DATABASE_OWNER_URL": self.as_role(self.owner),
            "TANDEM_DATABASE_ADMIN_URL": self.url,
        }


@pytest.fixture
def names(empty_database_url: str) -> Iterator[Names]:
    some = uuid4().hex[:8]
    names = Names(f"owner-{some}", f"service-{some}", f"admin-{some}", empty_database_url)
    yield names
    asyncio.run(drop(names))


async def drop(names: Names) -> None:
    connection = await asyncpg.connect(names.url)
    for name in (names.service, names.owner, names.admin):
        if await connection.fetchrow(roles.ROLE, name):
            database = await connection.fetchval("SELECT quote_ident(current_database())")
            await connection.execute(f"ALTER DATABASE {database} OWNER TO CURRENT_USER")
            await connection.execute(f'DROP OWNED BY "{name}" CASCADE; DROP ROLE "{name}"')
    await connection.close()


@pytest.fixture
def tandem(names: Names) -> Tandem:
    return Tandem(names.environment)


def test_the_owner_migrates_and_the_services_have_rows(tandem: Tandem, names: Names) -> None:
    said = tandem.says("db", "roles")
    assert said.splitlines() == [
        f"{names.owner}: created.",
        f"{names.service}: created.",
        f"{names.owner} migrates; {names.service} reads and writes rows, and nothing else.",
    ]
    tandem.says("db", "upgrade", TANDEM_DATABASE_ADMIN_URL="")
    assert ask(names.url, OWNERS) == names.owner
    service = names.as_role(names.service)
    assert ask(service, "SELECT version_num FROM alembic_version") == schema.newest()
    ask(service, USER)
    for refused in (
        "UPDATE alembic_version SET version_num = ''",
        "UPDATE events SET type = ''",
        "CREATE TABLE made (id int)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            ask(service, refused)
    assert "hunter2" not in said


def test_it_can_be_repeated(tandem: Tandem, names: Names) -> None:
    tandem.says("db", "roles")
    tandem.says("db", "upgrade")
    given = ask(names.url, "SELECT string_agg(relacl::text, ' ' ORDER BY oid) FROM pg_class")
    assert "exists" in tandem.says("db", "roles")
    again = ask(names.url, "SELECT string_agg(relacl::text, ' ' ORDER BY oid) FROM pg_class")
    assert again == given
    ask(names.as_role(names.service), USER)


async def test_it_waits_for_another_one(names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "LOCK_TIMEOUT", "SET LOCAL lock_timeout = '100ms'")
    settings = Settings(
        database_url=SecretStr(names.as_role(names.service)),
        database_owner_url=SecretStr(names.as_role(names.owner)),
        database_admin_url=SecretStr(names.url),
    )
    async with under_way(names.url, commands.LOCK):
        with pytest.raises(CommandError, match="Nothing was changed: canceling statement due to"):
            await asyncio.to_thread(commands.make_roles, settings)
    assert await asyncio.to_thread(commands.make_roles, settings)


def test_tables_that_are_there_are_handed_over(tandem: Tandem, names: Names) -> None:
    upgrade(names.url)
    ask(names.url, "CREATE TABLE of_another_program (id int)")
    said = tandem.says("db", "roles")
    assert said.count("belongs to") == len(metadata.tables) + 1
    tandem.says("db", "downgrade", "009_widen_list_indexes", "--yes")
    tandem.says("db", "upgrade")
    service = names.as_role(names.service)
    ask(service, USER)
    for refused in ("SELECT FROM of_another_program", "DELETE FROM alembic_version"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            ask(service, refused)


def test_an_administrator_need_not_be_a_superuser(tandem: Tandem, names: Names) -> None:
    create = f"CREATE ROLE \"{names.admin}\" CREATEROLE LOGIN PASSWORD 'hunter2#end'"
    asyncio.run(execute(names.url, create))
    name = urlsplit(names.url).path[1:]
    asyncio.run(execute(names.url, f'ALTER DATABASE {name} OWNER TO "{names.admin}"'))
    admin = {"TANDEM_DATABASE_ADMIN_URL": names.as_role(names.admin)}
    upgrade(names.as_role(names.admin))
    assert f"no longer to {names.admin}" in tandem.says("db", "roles", **admin)
    assert "exists" in tandem.says("db", "roles", **admin)
    ask(names.as_role(names.service), USER)
    assert ask(names.url, OWNERS) == names.owner
    members = "SELECT count(*) FROM pg_auth_members WHERE roleid = $1::text::regrole AND set_option"
    if int(str(ask(names.url, "SHOW server_version_num"))) >= 160000:
        assert ask(names.url, members, f'"{names.owner}"') == 0


def test_the_owner_can_make_the_services_role_itself(tandem: Tandem, names: Names) -> None:
    superuser = {"TANDEM_DATABASE_OWNER_URL": names.url, "TANDEM_DATABASE_ADMIN_URL": ""}
    upgrade(names.url)
    assert tandem.says("db", "roles", **superuser).startswith(f"{names.service}: created.\n")
    ask(names.as_role(names.service), USER)


def test_roles_that_would_be_no_division_are_refused(tandem: Tandem, names: Names) -> None:
    one = {"TANDEM_DATABASE_URL": names.as_role(names.owner)}
    assert "name the same role" in tandem.refuses("db", "roles", **one)
    itself = {"TANDEM_DATABASE_URL": names.url}
    assert "cannot be the one of the services" in tandem.refuses("db", "roles", **itself)
    other = {"TANDEM_DATABASE_URL": names.as_role(names.service).replace("test_", "other_")}
    assert "different databases" in tandem.refuses("db", "roles", **other)
    nameless = {"TANDEM_DATABASE_URL": "postgresql:///tandem"}
    assert "must have a user" in tandem.refuses("db", "roles", **nameless)
    missing = tandem.refuses("db", "roles", TANDEM_DATABASE_OWNER_URL="")
    assert missing.startswith("Set TANDEM_DATABASE_OWNER_URL and TANDEM_DATABASE_URL")
    assert ask(names.url, "SELECT to_regrole($1)", f'"{names.service}"') is None


def test_a_role_that_would_keep_more_is_refused_and_nothing_changes(
    tandem: Tandem, names: Names
) -> None:
    tandem.says("db", "roles")
    name = urlsplit(names.url).path[1:]
    asyncio.run(execute(names.url, f'ALTER DATABASE {name} OWNER TO "{names.service}"'))
    refused = tandem.refuses("db", "roles")
    assert "Nothing was changed" in refused
    assert "CREATE on the database" in refused
