"""`tandem backup` and `tandem restore`: everything comes back, or nothing is changed."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from cli.backup import SEAL
from tests.cli.conftest import Tandem
from tests.databases import execute, fresh
from tests.locks import CUT_OFF, under_way
from tests.migrations.database import Database

LOGS = "SELECT log_id FROM event_heads"
CASTS = r"[()]|::character varying|::text(\[\])?"
NEWER = "UPDATE alembic_version SET version_num = '999_of_tomorrow'"
# A table with a default value needs it, and so the restoring waits.
LOCK = "LOCK TABLE pg_catalog.pg_attrdef IN ACCESS EXCLUSIVE MODE"


@pytest.fixture
def empty(postgres_url: str, tandem: Tandem) -> Iterator[Tandem]:
    """The command line on a database without tables."""
    with fresh(postgres_url) as url:
        yield Tandem({**tandem.environment, "TANDEM_DATABASE_URL": url})


@pytest.fixture
def file(tandem: Tandem, tmp_path: Path) -> Path:
    """A backup of a database with a user."""
    tandem.says("users", "create", "ada", "--email", "ada@example.com")
    path = tmp_path / "tandem.backup"
    assert tandem.says("backup", str(path)) == f"{path}\n"
    return path


def database(tandem: Tandem) -> Database:
    return Database(tandem.environment["TANDEM_DATABASE_URL"])


def structure(database: Database) -> set[str]:
    """That of a database, without casts: a restored constraint is written with others."""
    return {re.sub(CASTS, "", line) for line in database.structure()}


def test_everything_comes_back_and_each_log_is_another_one(
    tandem: Tandem, file: Path, empty: Tandem
) -> None:
    before, after = database(tandem), database(empty)
    result = empty("restore", str(file))
    assert result.exit_code == 0, result.output
    assert structure(after) == structure(before)
    rows = before.contents({"event_heads.log_id"})
    assert rows["users"]
    assert after.contents({"event_heads.log_id"}) == rows
    assert after.current() == before.current()
    assert set(after.values(LOGS)).isdisjoint(before.values(LOGS))
    assert empty.says("users", "list") == tandem.says("users", "list")


def test_only_its_owner_can_read_it_and_nothing_else_is_left(file: Path) -> None:
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(file.parent.glob(f"{file.name}*")) == [file]


def test_a_file_that_exists_is_kept(tandem: Tandem, file: Path) -> None:
    before = file.read_bytes()
    assert f"{file} exists" in tandem.refuses("backup", str(file))
    assert file.read_bytes() == before


def test_a_database_without_tables_is_not_backed_up(empty: Tandem, tmp_path: Path) -> None:
    assert "has no tables of Tandem" in empty.refuses("backup", str(tmp_path / "none.backup"))
    assert not list(tmp_path.glob("none.backup*"))


def test_nothing_is_restored_into_a_database_with_tables(tandem: Tandem, file: Path) -> None:
    before = database(tandem).everything()
    assert "the database has tables" in tandem.refuses("restore", str(file))
    assert database(tandem).everything() == before


@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.99])
def test_what_is_cut_off_is_not_restored(file: Path, empty: Tandem, part: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(part * len(content))])
    assert "its end is missing" in empty.refuses("restore", str(file))
    assert database(empty).everything() == (set(), {}, [])


@pytest.mark.parametrize("part", [0.001, 0.5, 0.99])
def test_what_is_altered_is_not_restored(file: Path, empty: Tandem, part: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(part * content.index(SEAL))] ^= 1
    file.write_bytes(content)
    assert "is not as it was written" in empty.refuses("restore", str(file))
    assert database(empty).everything() == (set(), {}, [])


def test_a_backup_of_a_newer_version_is_not_restored(
    tandem: Tandem, empty: Tandem, tmp_path: Path
) -> None:
    asyncio.run(execute(tandem.environment["TANDEM_DATABASE_URL"], NEWER))
    path = tmp_path / "newer.backup"
    tandem.says("backup", str(path))
    assert "999_of_tomorrow, which is newer" in empty.refuses("restore", str(path))
    assert database(empty).everything() == (set(), {}, [])


async def test_a_restoring_that_is_cut_off_changes_nothing_and_can_be_repeated(
    file: Path, empty: Tandem
) -> None:
    url = empty.environment["TANDEM_DATABASE_URL"]
    async with under_way(url, LOCK) as blocked:
        restoring = asyncio.create_task(asyncio.to_thread(empty.refuses, "restore", str(file)))
        await blocked.wait()
        connection = await asyncpg.connect(url)
        assert await connection.fetchval(CUT_OFF) == 1
        await connection.close()
        said = await restoring
    assert "psql has failed" in said
    assert await asyncio.to_thread(database(empty).everything) == (set(), {}, [])
    assert (await asyncio.to_thread(empty, "restore", str(file))).exit_code == 0
