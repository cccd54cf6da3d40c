"""Access comes before content, and the columns of a statement are those of the values."""

from uuid import UUID, uuid4

import pytest
from sqlalchemy import Uuid, bindparam, false, literal, null, select

from shared.auth.access import ACTIVE
from shared.auth.caller import User
from shared.auth.permissions import Permission
from shared.database.pool import Connection
from shared.database.statement import Statement
from shared.errors import Reason, Refusal, invalid_field
from shared.events.recording import ALONE, Change, told
from shared.resources.project_scoped import PROJECTS, require_inserted
from shared.resources.validation import Parsed
from shared.schema import projects
from tests.world import World

WRONG: Parsed[None] = Parsed(None, invalid_field("x", "is wrong"))
_id = bindparam("id", type_=Uuid)
_nothing = select(_id.label("id")).where(false()).cte("nothing")
FINDS_NOTHING = Change(
    "Finds nothing.",
    [_nothing.c.id],
    _nothing,
    select(*told(projects, "project.updated", projects)).where(false()).cte("told"),
)
INSERTS_NOTHING = Statement(
    "What an insert answers that has found a project and not acted.",
    select(
        null().label("id"),
        literal("owner").label("found_role"),
        literal(ACTIVE).label("found_project_status"),
    ),
)


def caller_of(user_id: UUID) -> User:
    return User(user_id, "user", "user@example.com", None, is_superuser=False)


async def test_access_is_refused_before_content(world: World) -> None:
    alice, stranger = await world.user(), await world.user()
    project = await alice.project()

    async def reason(user_id: UUID, project_id: str) -> Reason:
        with pytest.raises(Refusal) as refused:
            await world.database.read(
                lambda c: PROJECTS.content(c, caller_of(user_id), project_id, WRONG)
            )
        return refused.value.reason

    assert await reason(stranger.id, project.id) is Reason.NOT_PROJECT_OWNER
    assert await reason(stranger.id, str(uuid4())) is Reason.PROJECT_NOT_FOUND
    assert await reason(stranger.id, "malformed") is Reason.INVALID_FIELD
    assert await reason(alice.id, project.id) is Reason.INVALID_FIELD


async def test_content_alone_asks_for_no_access(world: World) -> None:
    """The statement that does the work decides access, in the same round trip."""
    stranger = await world.user()
    good = Parsed(7, None)
    said = await world.database.read(
        lambda c: PROJECTS.content(c, caller_of(stranger.id), str(uuid4()), good)
    )
    assert said == 7


def test_a_column_that_the_table_has_not_cannot_be_written() -> None:
    with pytest.raises(KeyError, match="nope"):
        PROJECTS.update_columns(frozenset({"nope"}))
    with pytest.raises(KeyError, match="nope"):
        PROJECTS.insert_columns(frozenset({"nope"}))


async def test_a_row_that_is_reached_only_since_then_is_a_conflict(world: World) -> None:
    """The statement did not find it, and the one that asks why does."""
    alice = await world.user()
    project = UUID((await alice.project()).id)

    async def late(connection: Connection) -> None:
        await PROJECTS.decide(connection, ALONE, caller_of(alice.id), FINDS_NOTHING, project)

    with pytest.raises(Refusal) as refused:
        await world.database.read(late)
    assert refused.value.reason is Reason.CONFLICT


async def test_a_project_that_can_be_written_to_only_since_then_is_a_conflict(
    world: World,
) -> None:
    row = await world.database.read(INSERTS_NOTHING.row)
    with pytest.raises(Refusal) as refused:
        require_inserted(row, caller_of(uuid4()), Permission.OWN, uuid4())
    assert refused.value.reason is Reason.CONFLICT
