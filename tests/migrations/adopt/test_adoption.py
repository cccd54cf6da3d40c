"""Tables that another program created are adopted if they match, with what can be repaired."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection

from migrations.adopt.baseline import COLUMNS
from migrations.adopt.comparison import compare, find_tables
from migrations.adopt.difference import Difference
from migrations.doctor.diagnosis import Verdict
from migrations.doctor.examine import examine
from migrations.history import BASE, BASE_WITH_CREATORS, NEWEST
from migrations.transaction import MigrationError, in_transaction
from tests.migrations import foreign
from tests.migrations.database import Database
from tests.migrations.foreign import refusal
from tests.migrations.legacy import Mix, fill_legacy


@pytest.mark.parametrize("revision", [BASE, BASE_WITH_CREATORS])
def test_the_baseline_is_what_the_first_migrations_create(
    database_at: Callable[[str], Database], revision: str
) -> None:
    def differences(connection: Connection) -> list[Difference]:
        catalog = find_tables(connection)
        assert {table: catalog.columns[table] for table in COLUMNS} == COLUMNS
        return compare(connection, catalog, revision)

    assert in_transaction(database_at(revision).url, differences) == []


# Constraints that reject the same rows, but in another order, or of text instead of varchar(50).
ALIKE = (
    "ck_agent_api_keys_status",
    "ck_projects_status",
    "uq_chat_participants_room_id_agent_id",
)


def test_adopted_tables_end_like_those_of_tandem(unversioned: Database, database_url: str) -> None:
    unversioned.upgrade()
    differing = unversioned.structure() ^ Database(database_url).structure()
    assert {line for line in differing if not any(name in line for name in ALIKE)} == {
        "CREATE INDEX ix_agent_api_keys_agent_id ON public.agent_api_keys USING btree (agent_id)",
        "CREATE UNIQUE INDEX uq_users_email ON public.users USING btree (lower((email)::text))",
        "CREATE UNIQUE INDEX uq_users_email ON public.users USING btree (lower(email))",
        "agent_api_keys.status text null:NO default:'active'::character varying generated:",
        "agent_api_keys.status varchar50 null:NO default:'active'::character varying generated:",
        "projects.id uuid null:NO default: generated:",
        "projects.id uuid null:NO default:gen_random_uuid() generated:",
        "users.email text null:NO default: generated:",
        "users.email varchar255 null:NO default: generated:",
        "users.full_name varchar255 null:YES default: generated:",
        "users.full_name varchar300 null:YES default: generated:",
        "users.theme varchar20 null:YES default:'dark'::character varying generated:",
    }
    assert unversioned.current() == NEWEST


def test_adoption_keeps_every_row_and_starts_from_001(
    unversioned: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ids = foreign.fill(unversioned)
    unversioned.upgrade()
    for table in COLUMNS:
        assert unversioned.values(f"SELECT id FROM {table}") == [ids[table]]  # noqa: S608
    assert unversioned.values("SELECT id FROM agents") == [ids["agent"]]
    assert f"now without a creator: 1\n  {ids['agent_api_keys']}" in caplog.text
    assert f"adopted as those of {BASE}" in caplog.text
    assert (
        "users.pk_users: expected the name pk_users; found the name users_pkey; repaired"
        in caplog.text
    )


def test_tables_with_a_foreign_key_to_creators_are_those_of_002(
    unversioned: Database, caplog: pytest.LogCaptureFixture
) -> None:
    unversioned.rows(foreign.ADD_CREATORS)
    unversioned.upgrade(BASE_WITH_CREATORS)
    assert f"adopted as those of {BASE_WITH_CREATORS}" in caplog.text
    assert unversioned.current() == BASE_WITH_CREATORS


def test_an_empty_table_of_revisions_counts_as_none(legacy: Database) -> None:
    fill_legacy(legacy, Mix(in_both=2))
    legacy.rows("DELETE FROM alembic_version")
    legacy.upgrade()
    assert legacy.values("SELECT count(*) FROM agents") == [2]


def test_a_failure_after_the_adoption_undoes_it(unversioned: Database) -> None:
    unversioned.rows("CREATE DOMAIN agents AS integer")
    before = unversioned.everything()
    with pytest.raises(MigrationError, match='"agents" already exists'):
        unversioned.upgrade()
    assert unversioned.everything() == before


def test_tables_of_another_program_at_a_known_revision_are_repaired(database: Database) -> None:
    """An older product had revisions of the same names, and constraints named by PostgreSQL."""
    foreign.make_tables(database)
    database.rows("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    database.rows("INSERT INTO alembic_version VALUES ($1)", BASE)
    database.upgrade()
    assert database.current() == NEWEST


def test_a_known_revision_counts_more_than_the_tables(legacy: Database) -> None:
    fill_legacy(legacy, Mix(in_keys=1))
    legacy.rows("ALTER TABLE agent_api_keys DROP CONSTRAINT fk_agent_api_keys_created_by_id")
    legacy.upgrade()
    assert legacy.current() == NEWEST


def test_a_unique_index_that_includes_the_id_is_accepted(unversioned: Database) -> None:
    unversioned.rows("CREATE UNIQUE INDEX lively ON chat_rooms (project_id, id)")
    unversioned.upgrade()
    assert unversioned.current() == NEWEST


def test_a_deferred_trigger_is_accepted(unversioned: Database) -> None:
    foreign.fill(unversioned)
    unversioned.make(lambda connection: connection.execute(LATE_TRIGGER))
    unversioned.upgrade()
    assert unversioned.current() == NEWEST


LATE_TRIGGER = """
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON agent_api_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
"""


def test_a_foreign_key_that_is_not_valid_is_replaced(unversioned: Database) -> None:
    unversioned.rows(
        "ALTER TABLE chat_participants ADD CONSTRAINT fk_chat_participants_room_id "
        "FOREIGN KEY (room_id) REFERENCES chat_rooms ON DELETE CASCADE NOT VALID"
    )
    unversioned.upgrade()
    assert examine(unversioned.url).verdict is Verdict.CLEAN


def test_the_statements_of_the_manual_convert_other_types(unversioned: Database) -> None:
    manual = (Path(__file__).parents[3] / "docs/migrations.md").read_text()
    (recipes,) = re.findall(r"```sql\n(.*?)```", manual, re.DOTALL)
    foreign.fill(unversioned)
    unversioned.make(lambda connection: connection.execute(OTHER_TYPES))
    assert refusal(unversioned).count("\n  ") == 4
    unversioned.make(lambda connection: connection.execute(recipes))
    unversioned.upgrade()
    assert examine(unversioned.url).verdict is Verdict.CLEAN


OTHER_TYPES = """
CREATE TYPE status AS ENUM ('ACTIVE', 'REVOKED', 'EXPIRED');
ALTER TABLE projects ALTER COLUMN settings TYPE json;
ALTER TABLE users ALTER COLUMN created_at TYPE timestamp;
ALTER TABLE agent_api_keys ALTER COLUMN status TYPE status USING upper(status)::status;
ALTER TABLE users ALTER COLUMN is_active DROP NOT NULL;
UPDATE users SET is_active = NULL;
"""


def test_other_tables_are_accepted(database: Database) -> None:
    database.rows("CREATE TABLE invoices (id serial PRIMARY KEY)")
    database.rows("CREATE SCHEMA auth CREATE TABLE users (id int)")
    database.upgrade()
    assert database.current() == NEWEST


def test_tables_outside_the_search_path_are_pointed_out(unversioned: Database) -> None:
    unversioned.rows("ALTER SCHEMA public RENAME TO legacy")
    unversioned.rows("CREATE SCHEMA public")
    assert "add ?search_path=legacy to the URL" in refusal(unversioned)
    there = Database(f"{unversioned.url}?search_path=legacy")
    there.upgrade()
    assert there.current() == NEWEST
    unversioned.upgrade()  # a second Tandem, in a schema beside the first
