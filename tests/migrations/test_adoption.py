"""Tables that something else made are adopted where they fit, and left as they are elsewhere."""

import re
from pathlib import Path

import pytest
from sqlalchemy import Connection

from migrations import run
from migrations.adoption import find_differences, find_tables
from migrations.differences import Difference
from migrations.doctor import Verdict, look
from migrations.expected import COLUMNS
from migrations.history import BASE, BASE_WITH_CREATORS, REVISIONS
from migrations.run import MigrationError
from tests.migrations import foreign
from tests.migrations.database import Database
from tests.migrations.foreign import refusal
from tests.migrations.legacy import Mix, make_legacy
from tests.migrations.test_drift import REVISIONS as HISTORY


@pytest.mark.parametrize("revision", [BASE, BASE_WITH_CREATORS])
def test_what_is_expected_is_what_the_first_migrations_make(
    database: Database, revision: str
) -> None:
    def differences(connection: Connection) -> list[Difference]:
        catalog = find_tables(connection)
        assert {table: catalog.columns[table] for table in COLUMNS} == COLUMNS
        return find_differences(connection, catalog, revision)

    database.upgrade(revision)
    assert run.in_transaction(database.url, differences) == []


def test_the_history_is_what_alembic_says_it_is() -> None:
    assert list(REVISIONS) == HISTORY


# What forbids the same in another order of words, or of a text instead of a varchar(50).
ALIKE = (
    "ck_agent_api_keys_status",
    "ck_projects_status",
    "uq_chat_participants_room_id_agent_id",
)


def test_adopted_tables_end_as_tandem_s_own(unversioned: Database, database_url: str) -> None:
    unversioned.upgrade()
    differing = unversioned.structure() ^ Database(database_url).structure()
    assert {line for line in differing if not any(name in line for name in ALIKE)} == {
        "CREATE INDEX ix_agent_api_keys_agent_id ON public.agent_api_keys USING btree (agent_id)",
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
    assert unversioned.current() == REVISIONS[-1]


def test_adoption_keeps_every_row_and_starts_from_001(
    unversioned: Database, caplog: pytest.LogCaptureFixture
) -> None:
    ids = foreign.fill(unversioned)
    unversioned.upgrade()
    for table in COLUMNS:
        assert unversioned.values(f"SELECT id FROM {table}") == [ids[table]]  # noqa: S608
    assert unversioned.values("SELECT id FROM agents") == [ids["agent"]]
    assert f"have none now:\n  {ids['agent_api_keys']}" in caplog.text
    assert "adopted as those of 001_create_base_tables" in caplog.text
    assert "users.pk_users: expected this name; found the name users_pkey; repaired" in caplog.text


def test_tables_whose_keys_know_their_creators_are_those_of_002(
    unversioned: Database, caplog: pytest.LogCaptureFixture
) -> None:
    unversioned.rows(foreign.ADD_CREATORS)
    unversioned.upgrade(BASE_WITH_CREATORS)
    assert "adopted as those of 002_add_agent_api_key_user_fk" in caplog.text
    assert unversioned.current() == BASE_WITH_CREATORS


def test_a_history_that_was_emptied_is_none(database: Database) -> None:
    make_legacy(database, Mix(in_both=2))
    database.rows("DELETE FROM alembic_version")
    database.upgrade()
    assert database.values("SELECT count(*) FROM agents") == [2]


def test_what_fails_after_the_adoption_takes_it_back(unversioned: Database) -> None:
    unversioned.rows("CREATE DOMAIN agents AS integer")
    before = unversioned.everything()
    with pytest.raises(MigrationError, match='"agents" already exists'):
        unversioned.upgrade()
    assert unversioned.everything() == before


def test_tables_of_another_maker_at_a_known_revision_are_repaired(database: Database) -> None:
    """The seed's own product called its revisions alike, and left the names to PostgreSQL."""
    foreign.make_tables(database)
    database.rows("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    database.rows("INSERT INTO alembic_version VALUES ($1)", BASE)
    database.upgrade()
    assert database.current() == REVISIONS[-1]


def test_a_known_revision_stays_whatever_else_the_tables_look_like(database: Database) -> None:
    make_legacy(database, Mix(in_keys=1))
    database.rows("ALTER TABLE agent_api_keys DROP CONSTRAINT fk_agent_api_keys_created_by_id")
    database.upgrade()
    assert database.current() == REVISIONS[-1]


def test_what_is_unique_by_its_id_anyway_is_no_obstacle(unversioned: Database) -> None:
    unversioned.rows("CREATE UNIQUE INDEX lively ON chat_rooms (project_id, id)")
    unversioned.upgrade()
    assert unversioned.current() == REVISIONS[-1]


def test_a_rule_that_is_broken_at_a_known_revision_is_refused(database: Database) -> None:
    make_legacy(database, Mix(in_keys=1))
    database.rows("ALTER TABLE agent_api_keys DROP CONSTRAINT ck_agent_api_keys_status")
    database.rows("UPDATE agent_api_keys SET status = 'paused'")
    assert "1 rows that break it" in refusal(database)


def test_what_checks_at_the_commit_is_no_obstacle(unversioned: Database) -> None:
    foreign.fill(unversioned)
    unversioned.make(lambda connection: connection.execute(LATE_TRIGGER))
    unversioned.upgrade()
    assert unversioned.current() == REVISIONS[-1]


LATE_TRIGGER = """
CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON agent_api_keys
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION look();
"""


def test_a_foreign_key_that_old_rows_may_break_is_made_whole(unversioned: Database) -> None:
    unversioned.rows(
        "ALTER TABLE chat_participants ADD CONSTRAINT fk_chat_participants_room_id "
        "FOREIGN KEY (room_id) REFERENCES chat_rooms ON DELETE CASCADE NOT VALID"
    )
    unversioned.upgrade()
    assert look(unversioned.url).verdict is Verdict.CLEAN


def test_what_the_manual_says_about_other_types_works(unversioned: Database) -> None:
    manual = (Path(__file__).parents[2] / "docs/migrations.md").read_text()
    (recipes,) = re.findall(r"```sql\n(.*?)```", manual, re.DOTALL)
    foreign.fill(unversioned)
    unversioned.make(lambda connection: connection.execute(OTHER_TYPES))
    assert refusal(unversioned).count("\n  ") == 4
    unversioned.make(lambda connection: connection.execute(recipes))
    unversioned.upgrade()
    assert look(unversioned.url).verdict is Verdict.CLEAN


OTHER_TYPES = """
CREATE TYPE status AS ENUM ('ACTIVE', 'REVOKED', 'EXPIRED');
ALTER TABLE projects ALTER COLUMN settings TYPE json;
ALTER TABLE users ALTER COLUMN created_at TYPE timestamp;
ALTER TABLE agent_api_keys ALTER COLUMN status TYPE status USING upper(status)::status;
ALTER TABLE users ALTER COLUMN is_active DROP NOT NULL;
UPDATE users SET is_active = NULL;
"""


def test_a_database_of_something_else_is_left_alone(database: Database) -> None:
    database.rows("CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL)")
    said = refusal(database)
    assert "users.id: expected uuid NOT NULL; found integer NOT NULL" in said
    assert "projects: expected a table; found none" in said
    assert "users.name: expected no column that a new row has to fill; found text NOT NULL" in said


def test_tables_of_others_are_no_obstacle(database: Database) -> None:
    database.rows("CREATE TABLE invoices (id serial PRIMARY KEY)")
    database.rows("CREATE SCHEMA auth CREATE TABLE users (id int)")
    database.upgrade()
    assert database.current() == REVISIONS[-1]


@pytest.mark.parametrize("versions", [["4f1c"], ["004_something_of_theirs"], [BASE, "4f1c"]])
def test_another_program_s_history_is_refused(unversioned: Database, versions: list[str]) -> None:
    unversioned.rows("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    unversioned.rows("INSERT INTO alembic_version SELECT unnest($1::text[])", versions)
    assert f"at the revision {versions[-1]!r}, which Tandem does not know" in refusal(unversioned)


def test_two_revisions_at_once_are_refused(unversioned: Database) -> None:
    unversioned.rows("CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY)")
    unversioned.rows("INSERT INTO alembic_version SELECT unnest($1::text[])", list(REVISIONS[:2]))
    assert "at 2 revisions at once" in refusal(unversioned)


def test_tables_that_the_search_path_misses_are_pointed_out(unversioned: Database) -> None:
    unversioned.rows("ALTER SCHEMA public RENAME TO legacy")
    unversioned.rows("CREATE SCHEMA public")
    assert "add ?search_path=legacy to the URL" in refusal(unversioned)
    there = Database(f"{unversioned.url}?search_path=legacy")
    there.upgrade()
    assert there.current() == REVISIONS[-1]
    unversioned.upgrade()  # a second Tandem, beside the one that knows its revision


def test_tables_of_another_owner_are_refused(unversioned: Database, stranger: Database) -> None:
    unversioned.rows(f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {stranger.role}")
    said = refusal(stranger)
    for table in COLUMNS:
        assert f"{table}: expected to belong to who migrates; found another owner" in said


def test_rows_that_may_be_hidden_are_refused(unversioned: Database, stranger: Database) -> None:
    for table in COLUMNS:
        unversioned.rows(f"ALTER TABLE {table} OWNER TO {stranger.role}")
    unversioned.rows("ALTER TABLE users ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    assert "users: expected all rows to be seen; found row security" in refusal(stranger)
    unversioned.rows("ALTER TABLE users NO FORCE ROW LEVEL SECURITY")
    stranger.upgrade()
    assert stranger.current() == REVISIONS[-1]
