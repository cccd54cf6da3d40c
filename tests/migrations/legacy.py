"""Databases from before 003: the base tables, with any mix of agent ids in them."""

from dataclasses import dataclass
from hashlib import md5
from uuid import UUID

from migrations.history import BASE_WITH_CREATORS
from tests.migrations.database import Database
from tests.schema.rows import Connection


@dataclass(frozen=True)
class Mix:
    """How many agent ids of each kind; no agent exists for any of them.

    Ids are dealt to the projects in turn; project 0 is the oldest, each next one a day younger.
    """

    in_keys: int = 0
    in_participants: int = 0
    in_both: int = 0
    in_two_projects: int = 0
    """In keys and participants of a project and of the next one."""
    alike: int = 0
    """In keys of project 0, all with the same first eight digits."""
    without_project: int = 0
    """In keys whose project does not exist: 003 refuses them."""
    without_room: int = 0
    """In participants whose room does not exist: 003 refuses them."""
    users: int = 0
    """Users who take part in project 0, and need no repair."""
    projects: int = 3
    rows: int = 1
    """How many keys, and how many participants, have each id in each of its projects."""

    @property
    def agents(self) -> int:
        """How many placeholders 003 creates."""
        once = self.in_keys + self.in_participants + self.in_both + self.alike
        return once + 2 * self.in_two_projects

    @property
    def moved(self) -> int:
        """How many rows 003 gives another agent id."""
        return 2 * self.in_two_projects * self.rows


def named(name: str) -> UUID:
    """The id of an object that `fill` adds, such as `project 0`, `in_both 7` or `room 0 1`."""
    return UUID(md5(name.encode()).hexdigest())  # noqa: S324


# One row for each agent id in each of its projects, and the tables that have it.
MENTIONS = """
CREATE TEMPORARY TABLE mentions ON COMMIT DROP AS
SELECT kind, n, in_keys, in_participants, (n + shift) % $1::int AS project,
       CASE kind WHEN 'alike' THEN ('00000007-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid
                 ELSE md5(kind || ' ' || n)::uuid END AS agent_id
FROM (VALUES ('in_keys', true, false, $2::int, 0), ('in_participants', false, true, $3::int, 0),
             ('in_both', true, true, $4::int, 0), ('in_two_projects', true, true, $5::int, 0),
             ('in_two_projects', true, true, $5::int, 1), ('alike', true, false, $6::int, 0),
             ('without_project', true, false, $7::int, 0),
             ('without_room', false, true, $8::int, 0)
     ) AS kinds (kind, in_keys, in_participants, number, shift),
     generate_series(0, number - 1) AS n
"""

ALIKE_IN_ONE_PROJECT = "UPDATE mentions SET project = 0 WHERE kind = 'alike'"

OWNER = """
INSERT INTO users (id, username, email)
VALUES (md5('owner')::uuid, 'owner', 'owner@example.com')
"""

PROJECTS = """
INSERT INTO projects (id, owner_id, slug, name, created_at)
SELECT md5('project ' || p)::uuid, md5('owner')::uuid, 'project-' || p, 'Project ' || p,
       timestamptz '2020-01-01 00:00Z' + p * interval '1 day'
FROM generate_series(0, $1::int - 1) AS p
"""

ROOMS = """
INSERT INTO chat_rooms (id, project_id, name)
SELECT md5(format('room %s %s', p, r))::uuid, md5('project ' || p)::uuid, format('Room %s', r)
FROM generate_series(0, $1::int - 1) AS p, generate_series(0, $2::int - 1) AS r
"""

KEYS = """
INSERT INTO agent_api_keys (id, project_id, agent_id, key_id, api_key_hash, key_prefix)
SELECT md5('key ' || name)::uuid,
       md5(CASE kind WHEN 'without_project' THEN 'gone' ELSE 'project ' || project END)::uuid,
       agent_id, name, md5(name), 'tdm_'
FROM mentions, generate_series(0, $1::int - 1) AS r, format('%s %s %s %s', kind, n, project, r) name
WHERE in_keys
"""

PARTICIPANTS = """
INSERT INTO chat_participants (id, room_id, agent_id)
SELECT md5(format('participant %s %s %s %s', kind, n, project, r))::uuid,
       md5(CASE kind WHEN 'without_room' THEN 'gone ' || r ELSE format('room %s %s', project, r)
           END)::uuid, agent_id
FROM mentions, generate_series(0, $1::int - 1) AS r
WHERE in_participants
"""

USERS = """
WITH people AS (
    INSERT INTO users (id, username, email)
    SELECT md5('user ' || n)::uuid, 'user-' || n, format('user-%s@example.com', n)
    FROM generate_series(0, $1::int - 1) AS n
    RETURNING id
)
INSERT INTO chat_participants (id, room_id, user_id)
SELECT gen_random_uuid(), md5('room 0 0')::uuid, id FROM people
"""


def make_legacy(database: Database, mix: Mix, *, versioned: bool = True) -> None:
    """Fill an empty database with this mix, at revision 002, or with no table of revisions."""
    database.upgrade(BASE_WITH_CREATORS)
    fill_legacy(database, mix, versioned=versioned)


def fill_legacy(database: Database, mix: Mix, *, versioned: bool = True) -> None:
    """Fill an empty database at revision 002, and drop its table of revisions if unversioned."""
    database.make(lambda connection: fill(connection, mix))
    if not versioned:
        database.rows("DROP TABLE alembic_version")


async def fill(connection: Connection, mix: Mix) -> None:
    """Add this mix to the base tables, once, in the current transaction."""
    # Dangling rows can exist in spite of foreign keys, for example after a restore.
    await connection.execute("SET LOCAL session_replication_role = replica")
    await connection.execute(OWNER)
    await connection.execute(PROJECTS, mix.projects)
    await connection.execute(ROOMS, mix.projects, mix.rows)
    await connection.execute(
        MENTIONS,
        *(mix.projects, mix.in_keys, mix.in_participants, mix.in_both, mix.in_two_projects),
        *(mix.alike, mix.without_project, mix.without_room),
    )
    await connection.execute(ALIKE_IN_ONE_PROJECT)
    await connection.execute(KEYS, mix.rows)
    await connection.execute(PARTICIPANTS, mix.rows)
    await connection.execute(USERS, mix.users)
