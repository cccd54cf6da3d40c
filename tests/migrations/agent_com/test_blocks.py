"""What Tandem cannot store is named, and nothing is changed."""

from uuid import UUID

import pytest
from sqlalchemy import Connection

from migrations.agent_com.conversion import adopt_agent_com
from migrations.agent_com.examination import Examination, examine_agent_com
from migrations.doctor.diagnosis import Verdict
from migrations.doctor.examine import examine
from migrations.run import adopt_from_agent_com
from migrations.transaction import MigrationError, in_transaction
from tests.migrations.agent_com.origin_rows import HERE
from tests.migrations.agent_com.picture import picture
from tests.migrations.database import Database
from tests.migrations.doctor.findings import first
from tests.migrations.legacy import named


def refused(database: Database, change: str) -> tuple[Examination, str]:
    """What is found after a change, and the message of the adoption that is refused then.

    All in one transaction, which is rolled back, so that the database stays as it is.
    """
    found: list[Examination] = []

    def work(connection: Connection) -> None:
        for statement in change.split(";"):
            connection.exec_driver_sql(statement)
        found.append(examine_agent_com(connection))
        adopt_agent_com(connection, not_called, not_called)

    with pytest.raises(MigrationError) as error:
        in_transaction(database.url, work)
    said = str(error.value)
    assert said.startswith("The database of agent_com cannot be adopted as it is.\n  ")
    return found[0], said


def not_called(_: object) -> None:
    raise AssertionError


def refusal(database: Database) -> str:
    """The message of an adoption that is refused, as the doctor predicts, and changes nothing."""
    before = picture(database)
    assert examine(database.url).verdict is Verdict.BLOCKED
    with pytest.raises(MigrationError) as error:
        adopt_from_agent_com(database.url, not_called)
    assert picture(database) == before
    return str(error.value)


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


FULL, ANN, OFFLINE, KEY = named("full"), named("ann"), named("offline"), named("key 0")
ROOT, SEAT = named("root"), named("seat 0")
COPY_KEY = """
DROP INDEX ix_agent_api_keys_key_id;
INSERT INTO agent_api_keys
    (id, project_id, agent_id, key_id, api_key_hash, key_prefix, capabilities, status,
     created_by_type)
SELECT '{id}', project_id, '{agent}', key_id, 'other', key_prefix, capabilities, status,
       created_by_type
FROM agent_api_keys WHERE id = '{key}'
"""


def change(place: str, value: str, row: UUID) -> str:
    """The statement that sets the `table.column` of a row."""
    table, column = place.split(".")
    return f"UPDATE {table} SET {column} = '{value}' WHERE id = '{row}'"  # noqa: S608


UNKNOWN_VALUES = (
    ("projects.status", "frozen", HERE),
    ("agents.status", "ONLINE", OFFLINE),
    ("agent_api_keys.status", "lost", KEY),
    ("agent_api_keys.created_by_type", "robot", KEY),
    ("tasks.status", "done", FULL),
    ("tasks.priority", "urgent", FULL),
    ("tasks.assigned_to_type", "robot", FULL),
)
UNFIT_JSON = (
    ("projects.settings", r'{"a": "\\\u0000"}', HERE),
    ("agents.config", r'{"\udc00": 1}', OFFLINE),
    ("agents.config", r'{"a": "\ud83d"}', OFFLINE),
    ("tasks.result", "[1]", FULL),
    ("tasks.result", nested(31), FULL),
    ("tasks.dependencies", r'["\u0000"]', FULL),
    ("agents.capabilities", "{}", OFFLINE),
    ("agent_api_keys.capabilities", '["a", 1]', KEY),
)
BLOCKED = (
    *(
        ("values_unknown", change(place, value, row), f"{place} {value} of {row}")
        for place, value, row in UNKNOWN_VALUES
    ),
    *(
        ("json_unfit", change(place, value, row), f"{place} of {row}")
        for place, value, row in UNFIT_JSON
    ),
    ("users_alike", change("users.username", "Reader", ANN), f"Reader (user {ANN})"),
    (
        "users_alike",
        change("users.email", "ROOT@example.com", ANN),
        f"ROOT@example.com (user {ANN})",
    ),
    (
        "participants_unfit",
        change("chat_participants.user_id", str(ROOT), SEAT),
        f"participant {SEAT}",
    ),
    (
        "dangling",
        f"SET session_replication_role = replica; {change('projects.owner_id', str(FULL), HERE)}",
        f"projects.owner_id of {HERE}",
    ),
    (
        "repeated",
        COPY_KEY.format(id=named("again"), agent=named("again"), key=KEY),
        f"agent_api_keys (key_id): {', '.join(sorted(map(str, (KEY, named('again')))))}",
    ),
    ("names_taken", "CREATE TABLE request_ids ()", "request_ids"),
    ("names_taken", "CREATE SCHEMA agent_com_before", "schema agent_com_before"),
    ("names_taken", "CREATE INDEX pk_users ON meetings (topic)", "pk_users"),
)


@pytest.mark.parametrize(
    ("code", "change", "line"), BLOCKED, ids=[f"{code}: {line[:30]}" for code, _, line in BLOCKED]
)
def test_what_blocks_is_named(filled_template: Database, code: str, change: str, line: str) -> None:
    examination, said = refused(filled_template, change)
    found = next(finding for finding in examination.findings if finding.kind.code == code)
    assert found.count == 1
    assert line in found.first[0]
    assert f"\n  {found.kind.what}: 1 (first: {found.first[0]})" in said
    assert said.count("\n  ") == 1


def test_two_projects_that_would_get_the_same_slug_are_named(filled_template: Database) -> None:
    """As a project has the slug that was meant to tell another from its namesake."""
    slug = f"project-a-{str(named('Project A'))[:8]}"
    both = ", ".join(sorted((str(named("Project A")), str(named("프로젝트")))))
    _, said = refused(filled_template, change("projects.project_id", slug, named("프로젝트")))
    assert f"slugs that several projects would get: 1 (first: {slug}: {both})" in said


def test_objects_of_30_levels_are_no_obstacle(origin: Database) -> None:
    origin.rows(change("tasks.result", nested(30), FULL))
    assert examine(origin.url).verdict is Verdict.UPGRADE


def test_a_refusal_changes_nothing(origin: Database) -> None:
    origin.rows(change("tasks.status", "done", FULL))
    assert "values that agent_com does not have: 1" in refusal(origin)


DIFFERENCES = (
    ("ALTER TABLE users DROP COLUMN full_name", "users.full_name: expected character varying(255)"),
    (
        "ALTER TABLE tasks ALTER COLUMN title TYPE varchar(501)",
        "tasks.title: expected character varying(500) NOT NULL; found character varying(501)",
    ),
    (
        "ALTER TABLE users ALTER COLUMN created_at TYPE timestamp",
        "users.created_at: expected timestamp with time zone NOT NULL; found timestamp without",
    ),
    (
        "ALTER TABLE agents ALTER COLUMN capabilities TYPE text",
        "agents.capabilities: expected json NOT NULL; found text NOT NULL",
    ),
    (
        "ALTER TABLE chat_rooms ALTER COLUMN name DROP NOT NULL",
        "chat_rooms.name: expected character varying(255) NOT NULL; found character varying(255)",
    ),
    ("DROP TABLE chat_participants", "chat_participants: expected a table; found none"),
    ("ALTER TABLE audit_logs SET UNLOGGED", "audit_logs: expected a table; found an unlogged"),
)


@pytest.mark.parametrize(
    ("change", "line"), DIFFERENCES, ids=[line[:40] for _, line in DIFFERENCES]
)
def test_tables_that_differ_are_named(filled_template: Database, change: str, line: str) -> None:
    _, said = refused(filled_template, change)
    assert f"\n  {line}" in said


def test_missing_privileges_are_named(origin: Database, stranger_here: Database) -> None:
    for table in origin.values(
        "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
    ):
        origin.rows(f"ALTER TABLE {table} OWNER TO {stranger_here.role}")
    assert first(examine(stranger_here.url), "moving_forbidden") == [
        f"CREATE on the database {origin.name}"
    ]
    assert "missing privileges to move tables: 1" in refusal(stranger_here)


def test_tables_of_another_owner_are_named(origin: Database, stranger_here: Database) -> None:
    origin.rows(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {stranger_here.role}")
    assert "\n  audit_logs: expected the current role as owner; found another owner" in refusal(
        stranger_here
    )
